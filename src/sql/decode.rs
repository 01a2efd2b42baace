//! From the server's bytes to [`Value`]s.
//!
//! Columns of types that are understood travel in binary; all others are cast to text by the
//! server (see [`super::statement`]): a type rpitr has never heard of still arrives, as printed.

use std::error::Error;

use bytes::Buf;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Kind, Type};
use uuid::Uuid;

use super::array_literal::parse_array;
use super::numeric;
use super::time::{Date, Interval, Time, TimeTz, Timestamp};
use super::value::{Array, Dimension, Range, Value};
use crate::wal::Lsn;

/// How the values of one type are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Codec {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Unsigned 32 bits: `oid`, `xid`, `cid`.
    Oid,
    Float4,
    Float8,
    Numeric,
    /// UTF-8 in both formats: text types and enum labels.
    Utf8,
    Char,
    Bytea,
    Timestamp,
    TimestampTz,
    Date,
    Time,
    TimeTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Lsn,
    Xid8,
    Array(Box<Codec>),
    Range(Box<Codec>),
    Multirange(Box<Codec>),
    /// Whatever the server prints.
    Printed,
    /// An array literal whose elements are whatever the server prints.
    PrintedArray(char),
}

impl Codec {
    pub(crate) fn of(ty: &Type) -> Codec {
        match *ty {
            Type::BOOL => Codec::Bool,
            Type::INT2 => Codec::Int2,
            Type::INT4 => Codec::Int4,
            Type::INT8 => Codec::Int8,
            Type::OID | Type::XID | Type::CID => Codec::Oid,
            Type::FLOAT4 => Codec::Float4,
            Type::FLOAT8 => Codec::Float8,
            Type::NUMERIC => Codec::Numeric,
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::UNKNOWN
            | Type::XML
            | Type::VOID
            | Type::REFCURSOR => Codec::Utf8,
            Type::CHAR => Codec::Char,
            Type::BYTEA => Codec::Bytea,
            Type::TIMESTAMP => Codec::Timestamp,
            Type::TIMESTAMPTZ => Codec::TimestampTz,
            Type::DATE => Codec::Date,
            Type::TIME => Codec::Time,
            Type::TIMETZ => Codec::TimeTz,
            Type::INTERVAL => Codec::Interval,
            Type::UUID => Codec::Uuid,
            Type::JSON => Codec::Json,
            Type::JSONB => Codec::Jsonb,
            Type::PG_LSN => Codec::Lsn,
            Type::XID8 => Codec::Xid8,
            // Arrays in the catalog's eyes, but printed without braces.
            Type::INT2_VECTOR | Type::OID_VECTOR => Codec::Printed,
            Type::BOX_ARRAY => Codec::PrintedArray(';'),
            _ => match ty.kind() {
                Kind::Array(element) => Codec::array(Codec::of(element)),
                Kind::Range(bound) => Codec::range(Codec::of(bound)),
                Kind::Multirange(bound) => Codec::multirange(Codec::of(bound)),
                Kind::Domain(base) => Codec::of(base),
                Kind::Enum(_) => Codec::Utf8,
                _ => Codec::Printed,
            },
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Codec::Printed | Codec::PrintedArray(_))
    }

    fn array(element: Codec) -> Codec {
        match element.is_text() {
            false => Codec::Array(Box::new(element)),
            true => Codec::PrintedArray(','),
        }
    }

    fn range(bound: Codec) -> Codec {
        match bound.is_text() {
            false => Codec::Range(Box::new(bound)),
            true => Codec::Printed,
        }
    }

    fn multirange(bound: Codec) -> Codec {
        match bound {
            // `postgres-types` gives a multirange's bound type, not its range type.
            Codec::Range(bound) => Codec::Multirange(bound),
            bound if !bound.is_text() => Codec::Multirange(Box::new(bound)),
            _ => Codec::Printed,
        }
    }

    /// Reads one value; `None` when the bytes do not fit the type.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Value> {
        let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_string);
        let int8 = || bytes.try_into().ok().map(i64::from_be_bytes);
        Some(match self {
            Codec::Bool => Value::Bool(*bytes.first()? != 0),
            Codec::Int2 => Value::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
            Codec::Int4 => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
            Codec::Int8 => Value::Int(int8()?),
            Codec::Oid => Value::Int(u32::from_be_bytes(bytes.try_into().ok()?).into()),
            Codec::Float4 => Value::Float(widen(f32::from_be_bytes(bytes.try_into().ok()?))),
            Codec::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
            Codec::Numeric => Value::Numeric(numeric::decode(bytes)?),
            Codec::Utf8 | Codec::Printed => Value::Text(utf8(bytes)?),
            Codec::Char => Value::Text(match bytes {
                [] | [0] => String::new(),
                // The server prints bytes beyond ASCII in octal.
                [byte] if !byte.is_ascii() => format!("\\{byte:03o}"),
                bytes => utf8(bytes)?,
            }),
            Codec::Bytea => Value::Bytes(bytes.to_vec()),
            Codec::Timestamp => Value::Timestamp(Timestamp(int8()?)),
            Codec::TimestampTz => Value::TimestampTz(Timestamp(int8()?)),
            Codec::Date => Value::Date(Date(i32::from_be_bytes(bytes.try_into().ok()?))),
            Codec::Time => Value::Time(Time(int8()?)),
            Codec::TimeTz => {
                let mut reader = bytes;
                let time = Time(reader.try_get_i64().ok()?);
                Value::TimeTz(TimeTz {
                    time,
                    west: reader.try_get_i32().ok()?,
                })
            }
            Codec::Interval => {
                let mut reader = bytes;
                let micros = reader.try_get_i64().ok()?;
                let days = reader.try_get_i32().ok()?;
                Value::Interval(Interval {
                    months: reader.try_get_i32().ok()?,
                    days,
                    micros,
                })
            }
            Codec::Uuid => Value::Uuid(Uuid::from_bytes(bytes.try_into().ok()?)),
            Codec::Json => Value::Json(utf8(bytes)?),
            Codec::Jsonb => match bytes.split_first()? {
                (1, text) => Value::Json(utf8(text)?),
                _ => return None,
            },
            Codec::Lsn => Value::Lsn(Lsn(int8()? as u64)),
            Codec::Xid8 => Value::Xid8(int8()? as u64),
            Codec::Array(element) => Value::Array(Box::new(decode_array(element, bytes)?)),
            Codec::Range(bound) => Value::Range(Box::new(decode_range(bound, bytes)?)),
            Codec::Multirange(bound) => {
                let mut reader = bytes;
                let count = reader.try_get_u32().ok()?;
                let ranges = (0..count).map(|_| decode_range(bound, nullable(&mut reader)??));
                Value::Multirange(ranges.collect::<Option<_>>()?)
            }
            Codec::PrintedArray(delimiter) => {
                let text = std::str::from_utf8(bytes).ok()?;
                match parse_array(text, *delimiter) {
                    Some(array) => Value::Array(Box::new(array)),
                    // An element type with a delimiter of its own.
                    None => Value::Text(text.into()),
                }
            }
        })
    }
}

/// The bytes of one column as they came.
#[derive(Debug)]
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The values of a row; an error is the index of the column that cannot be read.
pub(crate) fn row(row: &Row, codecs: &[Codec]) -> Result<Vec<Value>, usize> {
    let mut values = Vec::with_capacity(codecs.len());
    for (index, codec) in codecs.iter().enumerate() {
        let value = match row.try_get::<usize, Raw<'_>>(index) {
            Ok(Raw(Some(bytes))) => codec.decode(bytes),
            Ok(Raw(None)) => Some(Value::Null),
            Err(_) => None,
        };
        values.push(value.ok_or(index)?);
    }
    Ok(values)
}

/// A value after its length, `None` for NULL.
fn nullable<'a>(reader: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(reader.try_get_i32().ok()?) else {
        return Some(None);
    };
    let (value, rest) = reader.split_at_checked(length)?;
    *reader = rest;
    Some(Some(value))
}

/// The `f64` that prints like the `f32`: 0.1, not 0.10000000149.
fn widen(value: f32) -> f64 {
    if !value.is_finite() {
        return value.into();
    }
    value.to_string().parse().unwrap_or(value.into())
}

fn decode_array(element: &Codec, bytes: &[u8]) -> Option<Array> {
    let mut reader = bytes;
    let rank = reader.try_get_u32().ok()?;
    let _has_nulls = reader.try_get_u32().ok()?;
    let _element_type = reader.try_get_u32().ok()?;
    let dimensions = (0..rank)
        .map(|_| {
            Some(Dimension {
                length: reader.try_get_u32().ok()? as usize,
                lower: reader.try_get_i32().ok()?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let count = match dimensions.as_slice() {
        [] => 0,
        list => list
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(d.length))?,
    };
    let items = (0..count)
        .map(|_| match nullable(&mut reader)? {
            None => Some(Value::Null),
            Some(bytes) => element.decode(bytes),
        })
        .collect::<Option<_>>()?;
    Some(Array { dimensions, items })
}

fn decode_range(bound: &Codec, bytes: &[u8]) -> Option<Range> {
    const EMPTY: u8 = 1;
    const LOWER_INCLUSIVE: u8 = 2;
    const UPPER_INCLUSIVE: u8 = 4;
    const LOWER_INFINITE: u8 = 8;
    const UPPER_INFINITE: u8 = 16;
    let mut reader = bytes;
    let flags = reader.try_get_u8().ok()?;
    let mut range = Range {
        empty: flags & EMPTY != 0,
        lower_inclusive: flags & LOWER_INCLUSIVE != 0,
        upper_inclusive: flags & UPPER_INCLUSIVE != 0,
        ..Range::default()
    };
    if flags & (EMPTY | LOWER_INFINITE) == 0 {
        range.lower = Some(bound.decode(nullable(&mut reader)??)?);
    }
    if flags & (EMPTY | UPPER_INFINITE) == 0 {
        range.upper = Some(bound.decode(nullable(&mut reader)??)?);
    }
    Some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float4_keeps_its_digits() {
        assert_eq!(
            Codec::Float4.decode(&0.1f32.to_be_bytes()),
            Some(Value::Float(0.1))
        );
        let Some(Value::Float(nan)) = Codec::Float4.decode(&f32::NAN.to_be_bytes()) else {
            panic!()
        };
        assert!(nan.is_nan());
    }

    #[test]
    fn short_input_is_refused() {
        for codec in [
            Codec::Int4,
            Codec::Uuid,
            Codec::Interval,
            Codec::Numeric,
            Codec::Timestamp,
        ] {
            assert_eq!(codec.decode(&[1]), None, "{codec:?}");
        }
        // A length that would overflow must not allocate.
        let huge = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1,
        ];
        assert_eq!(Codec::Array(Box::new(Codec::Int4)).decode(&huge), None);
    }

    #[test]
    fn codecs_of_types() {
        let int4 = || Box::new(Codec::Int4);
        assert_eq!(Codec::of(&Type::INT4_ARRAY), Codec::Array(int4()));
        assert_eq!(Codec::of(&Type::INT4MULTI_RANGE), Codec::Multirange(int4()));
        assert_eq!(Codec::of(&Type::ACLITEM_ARRAY), Codec::PrintedArray(','));
        assert_eq!(Codec::of(&Type::INET), Codec::Printed);
        let user = |kind| Codec::of(&Type::new("u".into(), 1_000_000, kind, "s".into()));
        assert_eq!(user(Kind::Simple), Codec::Printed);
        assert_eq!(user(Kind::Enum(Vec::new())), Codec::Utf8);
        assert_eq!(user(Kind::Domain(Type::INT4)), Codec::Int4);
        assert_eq!(user(Kind::Range(Type::INT4)), Codec::Range(int4()));
    }
}
