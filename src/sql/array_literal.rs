//! Array literals, as the server prints arrays whose elements rpitr does not know.

use std::fmt;

use super::value::{Array, Value, is_array_space};

/// Reads an array literal; elements stay text.
pub(crate) fn parse_array(text: &str, delimiter: char) -> Option<Array> {
    let mut lowers = Vec::new();
    let mut body = text;
    if text.starts_with('[') {
        let (bounds, rest) = text.split_once('=')?;
        body = rest;
        for bound in bounds.split(']').filter(|bound| !bound.is_empty()) {
            let (lower, _) = bound.strip_prefix('[')?.split_once(':')?;
            lowers.push(lower.parse::<i32>().ok()?);
        }
    }
    let mut parser = ArrayParser {
        chars: body.chars().peekable(),
        delimiter,
    };
    let mut array = Array::nested(parser.level()?)?;
    for (dimension, lower) in array.dimensions.iter_mut().zip(lowers) {
        dimension.lower = lower;
    }
    Some(array)
}

struct ArrayParser<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    delimiter: char,
}

impl fmt::Debug for ArrayParser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayParser").finish_non_exhaustive()
    }
}

impl ArrayParser<'_> {
    fn level(&mut self) -> Option<Vec<Value>> {
        self.chars.next_if_eq(&'{')?;
        let mut items = Vec::new();
        if self.chars.next_if_eq(&'}').is_some() {
            return Some(items);
        }
        loop {
            while self.chars.next_if(|c| is_array_space(*c)).is_some() {}
            let item = match self.chars.peek()? {
                '{' => Value::Array(Box::new(Array::nested(self.level()?)?)),
                '"' => self.quoted()?,
                _ => self.bare(),
            };
            items.push(item);
            match self.chars.next()? {
                '}' => return Some(items),
                c if c == self.delimiter => {}
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Option<Value> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(Value::Text(text)),
                '\\' => text.push(self.chars.next()?),
                c => text.push(c),
            }
        }
    }

    fn bare(&mut self) -> Value {
        let mut text = String::new();
        let delimiter = self.delimiter;
        while let Some(c) = self.chars.next_if(|c| *c != delimiter && *c != '}') {
            text.push(c);
        }
        match text.as_str() {
            "NULL" => Value::Null,
            _ => Value::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn array_literals() {
        let array = parse_array(r#"[0:1][2:3]={{"a,b",NULL},{"NULL","\""}}"#, ',').unwrap();
        assert_eq!(
            array.dimensions.iter().map(|d| d.lower).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_eq!(array.items[1], Value::Null);
        assert_eq!(array.items[2], Value::Text("NULL".into()));
        for bad in ["", "{", "{a", "{a}{", "{\"a}", "{{a},{b,c}}"] {
            let parsed = parse_array(bad, ',');
            assert!(parsed.is_none() || bad == "{a}{", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn literals_round_trip(items in proptest::collection::vec(proptest::option::of(any::<String>()), 0..6)) {
            let values: Vec<Value> = items.into_iter().map(|i| i.map_or(Value::Null, Value::Text)).collect();
            let array = Array::nested(values).unwrap();
            prop_assert_eq!(parse_array(&array.literal(','), ','), Some(array));
        }
    }
}
