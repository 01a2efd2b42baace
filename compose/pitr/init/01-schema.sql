-- What writers write, and what is known of the captured WAL.
CREATE TABLE test_data (
  id bigserial PRIMARY KEY,
  writer int NOT NULL DEFAULT 0,
  payload text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE wal_metadata (
  name text PRIMARY KEY CHECK (name ~ '^[0-9A-F]{24}$'),
  timeline int NOT NULL,
  bytes bigint NOT NULL,
  partial boolean NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO test_data (payload) SELECT 'row ' || n FROM generate_series(1, 10) n;
