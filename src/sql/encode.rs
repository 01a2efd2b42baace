//! From [`Value`]s to parameters of the types the server inferred.
//!
//! Only the hottest pairs travel in binary. All others are sent as text, which the server reads
//! with the type's own input function: '2024-01-01', '{1,2}', '0/16B3748' or an enum label work
//! for any type, and bad input is reported with the server's SQLSTATE.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::error::Error;
use super::value::Value;

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const OID: u32 = 26;
const FLOAT8: u32 = 701;
const BOX_ARRAY: u32 = 1020;

/// Whether the value goes in binary to a parameter of this type.
fn is_binary(value: &Value, oid: u32) -> bool {
    matches!(
        (value, oid),
        (Value::Int(_), INT2 | INT4 | INT8 | OID)
            | (Value::Float(_), FLOAT8)
            | (Value::Bool(_), BOOL)
            | (Value::Bytes(_), BYTEA)
    )
}

/// One parameter and its place in the statement, from 1.
#[derive(Debug)]
pub(crate) struct Param<'a>(pub usize, pub &'a Value);

/// The parameters of a statement.
pub(crate) fn params(values: &[Value]) -> impl ExactSizeIterator<Item = Param<'_>> {
    let pair = |(index, value)| Param(index + 1, value);
    values.iter().enumerate().map(pair)
}

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        if self.1.is_null() {
            return Ok(IsNull::Yes);
        }
        match one(self.1, ty.oid(), out) {
            Ok(()) => Ok(IsNull::No),
            Err(message) => Err(Box::new(Error::Parameter {
                number: self.0,
                type_name: display_name(ty.name()),
                message,
            })),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        match is_binary(self.1, ty.oid()) {
            true => Format::Binary,
            false => Format::Text,
        }
    }

    to_sql_checked!();
}

/// `int4[]` for the catalog's `_int4`.
pub(crate) fn display_name(name: &str) -> String {
    match name.strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => name.to_string(),
    }
}

fn one(value: &Value, oid: u32, out: &mut BytesMut) -> Result<(), String> {
    let range =
        |number: i64, low: i64, high: i64| format!("{number} is out of range ({low} to {high})");
    match (value, oid) {
        (Value::Int(number), INT2) => match i16::try_from(*number) {
            Ok(small) => out.put_i16(small),
            Err(_) => return Err(range(*number, i16::MIN.into(), i16::MAX.into())),
        },
        (Value::Int(number), INT4) => match i32::try_from(*number) {
            Ok(small) => out.put_i32(small),
            Err(_) => return Err(range(*number, i32::MIN.into(), i32::MAX.into())),
        },
        (Value::Int(number), OID) => match u32::try_from(*number) {
            Ok(small) => out.put_u32(small),
            Err(_) => return Err(range(*number, 0, u32::MAX.into())),
        },
        (Value::Int(number), INT8) => out.put_i64(*number),
        (Value::Float(number), FLOAT8) => out.put_f64(*number),
        // Scripts compute with floats; 3.0 is as good an integer as 3.
        (Value::Float(number), INT2 | INT4 | INT8 | OID)
            if number.fract() == 0.0 && number.abs() < 9.2e18 =>
        {
            let _ = write!(out, "{}", *number as i64);
        }
        (Value::Float(number), INT2 | INT4 | INT8 | OID) => {
            return Err(format!("{} is not an integer", Value::Float(*number)));
        }
        (Value::Bool(flag), BOOL) => out.put_u8((*flag).into()),
        (Value::Bytes(bytes), BYTEA) => out.put_slice(bytes),
        // Bytes for a text type are text already; the server checks the encoding.
        (Value::Bytes(bytes), 18 | 19 | 25 | 1042 | 1043 | 114 | 3802 | 142) => {
            out.put_slice(bytes)
        }
        (Value::Bool(flag), 25 | 1042 | 1043) => {
            // As a cast to text does it; "t" is only the output form.
            out.put_slice(if *flag { b"true" } else { b"false" });
        }
        (Value::Array(array), BOX_ARRAY) => out.put_slice(array.literal(';').as_bytes()),
        (Value::Text(text) | Value::Json(text) | Value::Numeric(text), _) => {
            if text.contains('\0') {
                return Err("text cannot hold a zero byte: send it as bytes to a bytea".into());
            }
            out.put_slice(text.as_bytes());
        }
        (value, _) => {
            let _ = write!(out, "{value}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: Value, oid: u32) -> String {
        let ty = Type::from_oid(oid).unwrap();
        match Param(2, &value).to_sql_checked(&ty, &mut BytesMut::new()) {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ranges_are_checked_here() {
        assert_eq!(message(Value::Int(32767), INT2), "ok");
        assert_eq!(
            message(Value::Int(32768), INT2),
            "parameter $2 (int2): 32768 is out of range (-32768 to 32767)"
        );
        assert_eq!(
            message(Value::Int(1 << 31), INT4),
            "parameter $2 (int4): 2147483648 is out of range (-2147483648 to 2147483647)"
        );
        assert_eq!(
            message(Value::Int(-1), OID),
            "parameter $2 (oid): -1 is out of range (0 to 4294967295)"
        );
        assert_eq!(
            message(Value::Float(1.5), INT8),
            "parameter $2 (int8): 1.5 is not an integer"
        );
        assert_eq!(message(Value::Float(3.0), INT4), "ok");
        assert!(message(Value::Text("a\0b".into()), 25).contains("zero byte"));
    }

    #[test]
    fn formats() {
        let encoded = |value: Value, ty: Type| {
            let mut out = BytesMut::new();
            let param = Param(1, &value);
            assert!(matches!(param.to_sql(&ty, &mut out), Ok(IsNull::No)));
            let binary = matches!(param.encode_format(&ty), Format::Binary);
            (binary, out.to_vec())
        };
        let seven = (true, vec![0, 0, 0, 7]);
        assert_eq!(encoded(Value::Int(7), Type::INT4), seven);
        let three = (false, b"-3".to_vec());
        assert_eq!(encoded(Value::Int(-3), Type::NUMERIC), three);
        let null = Param(1, &Value::Null).to_sql(&Type::INT4, &mut BytesMut::new());
        assert!(matches!(null, Ok(IsNull::Yes)));
    }
}
