//! Values of every kind, both ways.

use rpitr::failure::{Failure, Kind};
use rpitr::sql::*;

use crate::server::run;
use crate::{connect, one, text};

/// Everything the server prints with ISO dates in UTC must be what `Value` prints.
#[test]
fn values_print_as_the_server_does() {
    run(async {
        let connection = connect().await;
        connection.exec("SET timezone = 'UTC'").await.unwrap();
        let expressions = [
            "true",
            "false",
            "(-32768)::int2",
            "2147483647",
            "(-9223372036854775808)::int8",
            "4294967295::oid",
            "'7'::xid",
            "'18446744073709551615'::xid8",
            "'FFFFFFFF/1'::pg_lsn",
            "0.1::float4",
            "1e-7::float4",
            "0.1::float8",
            "1e15::float8",
            "123456789.123456789::float8",
            "'NaN'::float8",
            "'-Infinity'::float4",
            "1e300::float8",
            "5e-324::float8",
            "0",
            "0.00",
            "12.50",
            "-0.0001",
            "1e-30::numeric",
            "1e40::numeric",
            "10000",
            "100000000.5",
            "'NaN'::numeric",
            "12345678901234567890.1234567890",
            "9999.9999",
            "'a b'",
            "''",
            "'x'::\"char\"",
            "'n'::name",
            "'c  '::char(5)",
            "'\\xdeadbeef'::bytea",
            "''::bytea",
            "'2024-02-29'::date",
            "'0044-03-15 BC'::date",
            "'infinity'::date",
            "'5874897-12-31'::date",
            "'2024-01-02 03:04:05.000007'::timestamp",
            "'-infinity'::timestamp",
            "'4713-01-01 00:00:00 BC'::timestamp",
            "'2024-01-02 03:04:05.1+02'::timestamptz",
            "'294276-12-31 23:59:59.999999+00'::timestamptz",
            "'0044-03-15 12:00:00+00 BC'::timestamptz",
            "'infinity'::timestamptz",
            "'24:00'::time",
            "'00:00:00.5'::time",
            "'12:34:56.789-03:30'::timetz",
            "'01:00+05:30:15'::timetz",
            "'1 year 2 mons -3 days 04:05:06.7'::interval",
            "'0'::interval",
            "'-1 mon +1 day'::interval",
            "'-00:00:01'::interval",
            "'1 day -00:00:01'::interval",
            "'100000:00:00'::interval",
            "'123e4567-e89b-12d3-a456-426614174000'::uuid",
            "'{\"a\":  1}'::json",
            "'{\"a\":  [1,null]}'::jsonb",
            "'{1,NULL,3}'::int[]",
            "'{{a,\"b c\"},{\"\",\"N\\\"\"}}'::text[]",
            "'[0:1]={1.5,2}'::numeric[]",
            "'{}'::text[]",
            "'{NULL,\"null\"}'::text[]",
            "'{2024-01-01 00:00:00+00}'::timestamptz[]",
            "'[1,10)'::int4range",
            "'empty'::numrange",
            "'(,2024-01-01 00:00:00]'::tsrange",
            "'[2024-01-01,)'::daterange",
            "'{[1,2),[5,9)}'::int4multirange",
            "'{\"[1,2)\"}'::int4range[]",
            // Types without a variant arrive as text.
            "'(1,2)'::point",
            "'((0,0),(1,1))'::box",
            "'<(0,0),5>'::circle",
            "'((0,0),(1,1),(2,0))'::polygon",
            "'10.0.0.0/8'::cidr",
            "'::1'::inet",
            "'08:00:2b:01:02:03'::macaddr",
            "'12.34'::money",
            "B'0101'",
            "'101'::varbit",
            "'a:1 b'::tsvector",
            "'a & b'::tsquery",
            "'<a/>'::xml",
            "'10:20:10,14'::pg_snapshot",
            "'(0,1)'::tid",
            "'pg_class'::regclass",
            "'{pg_class,pg_type}'::regclass[]",
            "'1 2 3'::int2vector",
            "'{\"postgres=r/postgres\"}'::aclitem[]",
            "'$.a'::jsonpath",
            "row(1,'a b',NULL)",
            "array[row(1,'x')]",
            "'{127.0.0.1,NULL}'::inet[]",
            "pg_typeof(1)",
            "NULL::point",
        ];
        for expression in expressions {
            let wanted = connection
                .simple_query(&format!("SELECT {expression}"))
                .await;
            let wanted = wanted.unwrap_or_else(|e| panic!("{expression}: {e}"));
            let wanted = wanted[0].rows[0][0].clone().unwrap_or_default();
            assert_eq!(
                one(&connection, &format!("SELECT {expression}")).await,
                wanted,
                "{expression}"
            );
        }
    });
}

#[test]
fn user_types_and_catalog_columns() {
    run(async {
        let connection = connect().await;
        connection
            .exec(
                "CREATE SCHEMA ut; SET search_path = ut, public;
                 CREATE TYPE mood AS ENUM ('sad', 'happy day');
                 CREATE DOMAIN small AS int CHECK (VALUE < 10);
                 CREATE DOMAIN moody AS mood;
                 CREATE TYPE pair AS (a int, b text);
                 CREATE TYPE floatrange AS RANGE (subtype = float8);
                 CREATE TABLE t (m mood, ms mood[], s small, ss small[], p pair, ps pair[], r floatrange, d moody)",
            )
            .await
            .unwrap();
        let params = [
            "happy day",
            "{sad,NULL}",
            "7",
            "{1,2}",
            "(1,x)",
            "{\"(1,x)\"}",
            "[1,2.5)",
            "sad",
        ]
        .map(text);
        connection
            .exec_params("INSERT INTO t VALUES ($1,$2,$3,$4,$5,$6,$7,$8)", &params)
            .await
            .unwrap();
        let rows = connection.query("SELECT * FROM t", &[]).await.unwrap();
        let row = &rows.rows[0];
        assert_eq!(row[0], text("happy day"));
        assert_eq!(
            row[1],
            Value::array(vec![text("sad"), Value::Null]).unwrap()
        );
        assert_eq!(row[2], Value::Int(7));
        assert_eq!(
            row[3],
            Value::array(vec![Value::Int(1), Value::Int(2)]).unwrap()
        );
        assert_eq!(row[4], text("(1,x)"));
        assert_eq!(row[5], Value::array(vec![text("(1,x)")]).unwrap());
        assert_eq!(row[6].to_string(), "[1,2.5)");
        assert_eq!(row[7], text("sad"));
        assert_eq!(rows.columns[1].type_name, "mood[]");
        let error = connection
            .exec_params("INSERT INTO t(m) VALUES ($1)", &[text("angry")])
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some("22P02"));

        // citext and hstore are installed with most servers; skip where they are not.
        if connection
            .exec("CREATE EXTENSION citext; CREATE EXTENSION hstore")
            .await
            .is_ok()
        {
            assert_eq!(one(&connection, "SELECT 'MiX'::citext").await, "MiX");
            assert_eq!(one(&connection, "SELECT '{a,B}'::citext[]").await, "{a,B}");
            assert_eq!(
                one(&connection, "SELECT 'a=>1'::hstore").await,
                "\"a\"=>\"1\""
            );
        }

        // Every catalog can be read whatever its columns are.
        let tables = connection
            .query("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r','v')", &[])
            .await
            .unwrap();
        assert!(tables.rows.len() > 100);
        for table in &tables.rows {
            let sql = format!("SELECT * FROM {} LIMIT 20", table[0]);
            connection
                .query(&sql, &[])
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        let acl = connection
            .query(
                "SELECT relacl FROM pg_class WHERE relname = 'pg_class'",
                &[],
            )
            .await
            .unwrap();
        assert!(matches!(acl.rows[0][0], Value::Array(_)));
        // Printed columns with parameters, in commands that return rows, and from cursors.
        let sql = "SELECT $1::int, '(1,2)'::point AS p -- the end";
        let rows = connection.query(sql, &[Value::Int(4)]).await.unwrap();
        assert_eq!(rows.rows[0], [Value::Int(4), text("(1,2)")]);
        assert_eq!(
            (
                rows.columns[1].name.as_str(),
                rows.columns[1].type_name.as_str()
            ),
            ("p", "point")
        );
        let sql = "INSERT INTO t(p, s) VALUES ('(2,y)', 3) RETURNING p, s";
        let rows = connection.query(sql, &[]).await.unwrap();
        assert_eq!(rows.rows[0], [text("(2,y)"), Value::Int(3)]);
        assert_eq!(rows.affected, 1);
        let sql = "SELECT p FROM t ORDER BY (p).a; ";
        let mut stream = connection.stream(sql, &[], 1).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), Some(vec![text("(1,x)")]));
        stream.close().await.unwrap();
        connection
            .exec("BEGIN; DECLARE c CURSOR FOR SELECT p, s FROM t ORDER BY (p).a")
            .await
            .unwrap();
        assert_eq!(one(&connection, "FETCH 1 FROM c").await, "(1,x)");
        connection.exec("COMMIT").await.unwrap();
    });
}

#[test]
fn parameters_fit_the_inferred_type() {
    run(async {
        let connection = connect().await;
        let array = |items: Vec<Value>| Value::array(items).unwrap();
        let cases: Vec<(&str, Value, &str)> = vec![
            ("int2", Value::Int(-5), "-5"),
            ("int8", Value::Int(i64::MIN), "-9223372036854775808"),
            ("numeric", Value::Int(5), "5"),
            ("numeric", Value::Float(0.1), "0.1"),
            ("numeric", text("1.500"), "1.500"),
            ("float8", Value::Int(3), "3"),
            ("float8", Value::Float(f64::NAN), "NaN"),
            ("float4", Value::Float(0.1), "0.1"),
            ("text", Value::Int(5), "5"),
            ("text", Value::Bool(true), "true"),
            ("bool", text("on"), "t"),
            ("oid", Value::Int(4294967295), "4294967295"),
            ("xid8", Value::Int(9), "9"),
            ("xid8", Value::Xid8(u64::MAX), "18446744073709551615"),
            ("date", text("2024-01-01"), "2024-01-01"),
            (
                "timestamptz",
                text("2024-01-01 00:00:00+02"),
                "2023-12-31 22:00:00+00",
            ),
            (
                "timestamptz",
                Value::TimestampTz(Timestamp(1)),
                "2000-01-01 00:00:00.000001+00",
            ),
            ("interval", text("1 day"), "1 day"),
            ("pg_lsn", text("0/16B3748"), "0/16B3748"),
            (
                "uuid",
                text("123e4567-e89b-12d3-a456-426614174000"),
                "123e4567-e89b-12d3-a456-426614174000",
            ),
            ("jsonb", Value::Json("{\"a\":1}".into()), "{\"a\": 1}"),
            ("bytea", Value::Bytes(vec![0, 255]), "\\x00ff"),
            ("text", Value::Bytes(b"abc".to_vec()), "abc"),
            (
                "int4[]",
                array(vec![Value::Int(1), Value::Null]),
                "{1,NULL}",
            ),
            ("int4[]", text("{3,4}"), "{3,4}"),
            (
                "text[]",
                array(vec![text("a,b"), text("")]),
                "{\"a,b\",\"\"}",
            ),
            (
                "box[]",
                array(vec![text("(1,1),(0,0)")]),
                "{\"(1,1),(0,0)\"}",
            ),
            ("int4range", text("[1,5]"), "[1,6)"),
            ("inet", text("10.0.0.1"), "10.0.0.1"),
            ("text", Value::Null, ""),
        ];
        for (ty, value, wanted) in cases {
            let rows = connection
                .query(&format!("SELECT $1::{ty}"), std::slice::from_ref(&value))
                .await;
            let rows = rows.unwrap_or_else(|e| panic!("{ty} {value:?}: {e}"));
            assert_eq!(rows.rows[0][0].to_string(), wanted, "{ty} {value:?}");
        }
        let failure = |sql: &'static str, params: Vec<Value>| {
            let connection = connection.clone();
            async move { Failure::from(connection.query(sql, &params).await.unwrap_err()) }
        };
        let wrong = failure("SELECT $1::int4", vec![Value::Int(1 << 40)]).await;
        assert!(
            wrong
                .message
                .starts_with("parameter $1 (int4): 1099511627776 is out of range"),
            "{wrong}"
        );
        let wrong = failure("SELECT $1::int4, $2::text", vec![Value::Int(1)]).await;
        assert_eq!(
            wrong.message,
            "the statement has 2 parameters, but 1 was given"
        );
        let wrong = failure("SELECT $1::date", vec![text("yesteryear")]).await;
        assert_eq!(
            (wrong.kind, wrong.code.as_deref()),
            (Kind::Sql, Some("22007"))
        );
        assert_eq!(one(&connection, "SELECT 1").await, "1");
    });
}
