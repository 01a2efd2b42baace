//! One SQL value. `Display` writes what `psql` would print with ISO dates and UTC.

use std::fmt::{self, Write as _};

use uuid::Uuid;

use super::time::{Date, Interval, Time, TimeTz, Timestamp};
use crate::wal::Lsn;

/// A value of any SQL type. Types without a variant arrive as [`Value::Text`] in the server's own
/// text form.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// `int2`, `int4`, `int8`, `oid`, `xid`, `cid`.
    Int(i64),
    Float(f64),
    /// Exact decimal text: `12.50`, `NaN`, `Infinity`.
    Numeric(String),
    Text(String),
    Bytes(Vec<u8>),
    Timestamp(Timestamp),
    /// Shown in UTC.
    TimestampTz(Timestamp),
    Date(Date),
    Time(Time),
    TimeTz(TimeTz),
    Interval(Interval),
    Uuid(Uuid),
    /// The raw text of a `json` or `jsonb` value.
    Json(String),
    Lsn(Lsn),
    Xid8(u64),
    Array(Box<Array>),
    Range(Box<Range>),
    Multirange(Vec<Range>),
}

/// An array of any number of dimensions; elements in row-major order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array {
    /// Empty for an empty array.
    pub dimensions: Vec<Dimension>,
    pub items: Vec<Value>,
}

/// One dimension of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimension {
    pub length: usize,
    /// The subscript of the first element, normally 1.
    pub lower: i32,
}

/// A range; a missing bound is infinite.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Range {
    pub empty: bool,
    pub lower: Option<Value>,
    pub upper: Option<Value>,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A one-dimensional array, or, when the items are arrays themselves, one of more dimensions.
    /// `None` when nested arrays differ in shape.
    pub fn array(items: Vec<Value>) -> Option<Value> {
        Array::nested(items).map(|array| Value::Array(Box::new(array)))
    }
}

impl Array {
    /// See [`Value::array`].
    pub fn nested(items: Vec<Value>) -> Option<Array> {
        if items.is_empty() {
            return Some(Array::default());
        }
        let outer = Dimension {
            length: items.len(),
            lower: 1,
        };
        if !items.iter().any(|item| matches!(item, Value::Array(_))) {
            return Some(Array {
                dimensions: vec![outer],
                items,
            });
        }
        let mut flat = Vec::new();
        let mut inner: Option<Vec<Dimension>> = None;
        for item in items {
            let Value::Array(array) = item else {
                return None;
            };
            match &inner {
                Some(dimensions) if *dimensions != array.dimensions => return None,
                Some(_) => {}
                None => inner = Some(array.dimensions.clone()),
            }
            flat.extend(array.items);
        }
        let inner = inner?;
        if inner.is_empty() {
            return Some(Array::default());
        }
        let dimensions = std::iter::once(outer).chain(inner).collect();
        Some(Array {
            dimensions,
            items: flat,
        })
    }

    /// The elements of the first dimension; with more dimensions these are arrays.
    pub fn into_elements(self) -> Vec<Value> {
        if self.dimensions.len() < 2 {
            return self.items;
        }
        let rest: Vec<Dimension> = self.dimensions.iter().skip(1).copied().collect();
        let chunk: usize = rest.iter().map(|d| d.length).product();
        let mut items = self.items.into_iter();
        let count = self.dimensions.first().map_or(0, |d| d.length);
        (0..count)
            .map(|_| {
                Value::Array(Box::new(Array {
                    dimensions: rest.clone(),
                    items: items.by_ref().take(chunk).collect(),
                }))
            })
            .collect()
    }

    /// The array as a literal, with the element type's delimiter (`,`, or `;` for `box`).
    pub(crate) fn literal(&self, delimiter: char) -> String {
        let mut out = String::new();
        if self.dimensions.iter().any(|d| d.lower != 1) {
            for d in &self.dimensions {
                let upper = i64::from(d.lower) + d.length as i64 - 1;
                let _ = write!(out, "[{}:{upper}]", d.lower);
            }
            out.push('=');
        }
        let mut items = self.items.iter();
        self.write_level(&mut out, &self.dimensions, &mut items, delimiter);
        out
    }

    fn write_level<'a>(
        &self,
        out: &mut String,
        dimensions: &[Dimension],
        items: &mut impl Iterator<Item = &'a Value>,
        delimiter: char,
    ) {
        out.push('{');
        if let Some((first, rest)) = dimensions.split_first() {
            for i in 0..first.length {
                if i > 0 {
                    out.push(delimiter);
                }
                if !rest.is_empty() {
                    self.write_level(out, rest, items, delimiter);
                } else {
                    match items.next() {
                        None | Some(Value::Null) => out.push_str("NULL"),
                        Some(item) => quote_item(out, &item.to_string(), delimiter),
                    }
                }
            }
        }
        out.push('}');
    }
}

fn quote_item(out: &mut String, text: &str, delimiter: char) {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| {
            matches!(c, '{' | '}' | '"' | '\\') || c == delimiter || is_array_space(c)
        });
    if plain {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

pub(crate) fn is_array_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

impl fmt::Display for Value {
    /// NULL is shown as nothing, as `psql` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Bool(value) => f.write_str(if *value { "t" } else { "f" }),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) => write_float(f, *value),
            Value::Numeric(text) | Value::Text(text) | Value::Json(text) => f.write_str(text),
            Value::Bytes(bytes) => {
                f.write_str("\\x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::Timestamp(value) => value.fmt(f),
            Value::TimestampTz(value) => value.write(f, "+00"),
            Value::Date(value) => value.fmt(f),
            Value::Time(value) => value.fmt(f),
            Value::TimeTz(value) => value.fmt(f),
            Value::Interval(value) => value.fmt(f),
            Value::Uuid(value) => value.fmt(f),
            Value::Lsn(value) => value.fmt(f),
            Value::Xid8(value) => value.fmt(f),
            Value::Array(array) => f.write_str(&array.literal(',')),
            Value::Range(range) => range.fmt(f),
            Value::Multirange(ranges) => {
                f.write_char('{')?;
                for (i, range) in ranges.iter().enumerate() {
                    if i > 0 {
                        f.write_char(',')?;
                    }
                    range.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

/// The shortest text that reads back as the same number, spelled as PostgreSQL does.
fn write_float(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("NaN");
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e15).contains(&size) {
        return write!(f, "{value}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    write!(f, "{digits}e{sign}{exponent:0>2}")
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.empty {
            return f.write_str("empty");
        }
        f.write_char(if self.lower_inclusive { '[' } else { '(' })?;
        write_bound(f, self.lower.as_ref())?;
        f.write_char(',')?;
        write_bound(f, self.upper.as_ref())?;
        f.write_char(if self.upper_inclusive { ']' } else { ')' })
    }
}

fn write_bound(f: &mut fmt::Formatter<'_>, bound: Option<&Value>) -> fmt::Result {
    let Some(value) = bound else {
        return Ok(());
    };
    let text = value.to_string();
    let special =
        |c: char| matches!(c, '"' | '\\' | '(' | ')' | '[' | ']' | ',') || is_array_space(c);
    if !text.is_empty() && !text.contains(special) {
        return f.write_str(&text);
    }
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char(c)?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_psql() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.25e-300, "1.25e-300"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(Value::Float(value).to_string(), text);
        }
    }

    #[test]
    fn arrays_nest_and_quote() {
        let text = |s: &str| Value::Text(s.into());
        let row = |a: &str| Value::array(vec![text(a), Value::Null]).unwrap();
        let array = Value::array(vec![row("a b"), row("q\"\\")]).unwrap();
        assert_eq!(array.to_string(), r#"{{"a b",NULL},{"q\"\\",NULL}}"#);
        let Value::Array(inner) = array.clone() else {
            panic!()
        };
        assert_eq!(Value::array(inner.into_elements()).unwrap(), array);
        assert_eq!(
            Value::array(vec![text("null"), text("")])
                .unwrap()
                .to_string(),
            r#"{"null",""}"#
        );
        assert_eq!(Value::array(vec![]).unwrap().to_string(), "{}");
        assert!(Value::array(vec![row("x"), text("y")]).is_none());
        let shifted = Array {
            dimensions: vec![Dimension {
                length: 2,
                lower: 0,
            }],
            items: vec![Value::Int(1), Value::Int(2)],
        };
        assert_eq!(shifted.literal(','), "[0:1]={1,2}");
    }
}
