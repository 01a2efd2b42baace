-- The shop of the recovery course.
CREATE TABLE customers (
  customerId serial PRIMARY KEY,
  firstName varchar(50),
  lastName varchar(50),
  email varchar(100) UNIQUE,
  registrationDate timestamp DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE products (
  productId serial PRIMARY KEY,
  productName varchar(100),
  category varchar(50),
  price numeric(10, 2)
);
CREATE TABLE orders (
  orderId serial PRIMARY KEY,
  customerId int REFERENCES customers (customerId),
  orderDate timestamp DEFAULT CURRENT_TIMESTAMP,
  totalAmount numeric(10, 2)
);
CREATE TABLE orderItems (
  orderItemId serial PRIMARY KEY,
  orderId int REFERENCES orders (orderId),
  productId int REFERENCES products (productId),
  quantity int,
  pricePerUnit numeric(10, 2)
);
