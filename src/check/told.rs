//! What a script's own comments say about types: `---@param d rpitr.DrillRun`, `---@type rpitr.Node`.

use super::types::Type;
use crate::api::split_type;

/// The texts behind a tag.
fn tagged<'a>(comment: &'a [String], tag: &'a str) -> impl Iterator<Item = &'a str> {
    comment.iter().filter_map(move |line| {
        let rest = line.strip_prefix("-@")?.strip_prefix(tag)?;
        rest.starts_with(char::is_whitespace)
            .then(|| rest.trim_start())
    })
}

pub fn told_type(comment: &[String]) -> Option<Type> {
    let text = tagged(comment, "type").next()?;
    Some(Type::parse(split_type(text).0, &[]))
}

pub fn told_parameter(comment: &[String], name: &str) -> Option<Type> {
    tagged(comment, "param").find_map(|text| {
        let (told, rest) = text.split_once(char::is_whitespace)?;
        (told.trim_end_matches('?') == name).then(|| Type::parse(split_type(rest).0, &[]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_above_locals_and_functions() {
        let comment = [
            "- Loads.".to_string(),
            "-@param pg? rpitr.Node  the server".into(),
        ];
        assert_eq!(
            told_parameter(&comment, "pg"),
            Some(Type::Named("rpitr.Node".into()))
        );
        assert_eq!(told_parameter(&comment, "db"), None);
        assert_eq!(
            told_type(&["-@type string[]".into()]),
            Some(Type::List(Type::String.into()))
        );
    }
}
