//! The checks of options in the library's code: `args.options("pitr.restore", options, { ... })`.

/// Option keys, each with whether it may be left out.
pub type Spec = Vec<(String, bool)>;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What error messages call the function.
    pub name: String,
    /// Whether the name is written there, at least how it begins.
    pub is_literal: bool,
    /// Whether the name is only how it begins: `"docker.wait." .. name`.
    pub is_prefix: bool,
    /// The expression that holds the options.
    pub subject: String,
    pub line: usize,
    /// Nothing when the keys are not written there, nor in a table of the same file.
    pub spec: Option<Spec>,
}

const CALL: &str = "args.options(";

/// Every check of options in a file.
pub fn calls(source: &str) -> Vec<Call> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices(CALL) {
        let before = &source[..at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let is_comment = source[line_start..at].contains("--");
        let defines = source[line_start..at].trim_end().ends_with("function");
        if is_comment || defines {
            continue;
        }
        let arguments = split(inside(&source[at + CALL.len() - 1..]));
        let [name, subject, table] = &arguments[..] else {
            continue;
        };
        let quoted = name.trim_start_matches('(').strip_prefix('"');
        let quoted = quoted.and_then(|name| name.split_once('"'));
        found.push(Call {
            name: quoted.map_or(name.as_str(), |(name, _)| name).to_string(),
            is_literal: quoted.is_some(),
            is_prefix: quoted.is_some_and(|(_, rest)| rest.trim_start().starts_with("..")),
            subject: subject.clone(),
            line: before.matches('\n').count() + 1,
            spec: spec(source, table),
        });
    }
    found
}

/// The names given to the helper a check stands in, where the name is that helper's first parameter.
pub fn names_given(source: &str, call: &Call) -> Vec<String> {
    let lines = source.lines().take(call.line);
    let helper = lines
        .filter_map(|line| line.strip_prefix("local function "))
        .filter_map(|rest| rest.split_once('('))
        .last();
    let Some((helper, parameters)) = helper else {
        return Vec::new();
    };
    let first = parameters.split([',', ')']).next().unwrap_or_default();
    if first.trim() != call.name {
        return Vec::new();
    }
    let head = format!("{helper}(\"");
    source
        .split(&head)
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(str::to_string))
        .collect()
}

fn spec(source: &str, table: &str) -> Option<Spec> {
    if table.starts_with('{') {
        return Some(keys(table));
    }
    let head = format!("local {table} = ");
    let at = source.find(&head)? + head.len();
    let text = &source[at..];
    text.starts_with('{').then(|| keys(text))
}

/// The keys of a table constructor: `key = "type?"` or `key = { "type", default }`.
fn keys(table: &str) -> Spec {
    split(inside(table))
        .iter()
        .filter_map(|entry| {
            let (key, value) = entry.split_once('=')?;
            let key = key.trim().trim_matches(['[', ']', '"']);
            let value = value.trim();
            let optional = value.starts_with('{') || value.ends_with("?\"");
            Some((key.to_string(), optional))
        })
        .collect()
}

/// What stands between a bracket at the start of `text` and the one that closes it.
fn inside(text: &str) -> &str {
    let end = walk(text, |at, depth, _| (depth == 0).then_some(at));
    text.get(1..end.unwrap_or(text.len())).unwrap_or("")
}

/// The parts between commas that stand in no bracket, without comments around them.
fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut from = 0;
    walk(text, |at, depth, c| {
        if c == ',' && depth == 0 {
            parts.push(&text[from..at]);
            from = at + 1;
        }
        None::<()>
    });
    parts.push(&text[from..]);
    parts
        .into_iter()
        .map(|part| {
            let lines = part.lines().map(|line| line.trim());
            let code = lines.filter(|line| !line.starts_with("--"));
            code.collect::<Vec<_>>().join("\n").trim().to_string()
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// Goes through the brackets and commas of `text` that stand in no string and no comment, each with
/// the depth behind it, until `visit` returns something.
fn walk<R>(text: &str, mut visit: impl FnMut(usize, usize, char) -> Option<R>) -> Option<R> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut escaped = false;
    let mut skip_to = 0;
    for (at, c) in text.char_indices() {
        if at < skip_to {
            continue;
        }
        if let Some(open) = quote {
            if !escaped && c == open {
                quote = None;
            }
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '-' if text[at..].starts_with("--") => {
                skip_to = text[at..].find('\n').map_or(text.len(), |end| at + end);
            }
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            ',' => {}
            _ => continue,
        }
        if matches!(c, ')' | '}' | ']' | ',')
            && let Some(result) = visit(at, depth, c)
        {
            return Some(result);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_with_their_keys() {
        let source = r#"
-- args.options("no", x, {})
local SPEC = { a = "any", ["until"] = "string?" }
function f(options)
  local x = args.options("f", options, SPEC)
  local y = args.options(("drill %q"):format(a, b), g(1, 2), {
    -- A comment, with a comma = and { braces
    b = { "string", "}, c = 1" }, -- another, one
    d = { "table", { 1, 2 } },
  })
  return args.options("z." .. x, options, elsewhere.SPEC)
end
"#;
        let found = calls(source);
        let key = |name: &str, optional| (name.to_string(), optional);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].name.as_str(), found[0].line), ("f", 5));
        assert_eq!(
            found[0].spec,
            Some(vec![key("a", false), key("until", true)])
        );
        assert_eq!(found[1].spec, Some(vec![key("b", true), key("d", true)]));
        assert_eq!((found[2].name.as_str(), &found[2].spec), ("z.", &None));
        assert!(found[2].is_prefix && !found[0].is_prefix);
        assert_eq!(found[1].subject, "g(1, 2)");
        assert_eq!(found[1].name, "drill %q");
    }

    #[test]
    fn names_given_to_helpers() {
        let source = "local function h(name, o)\n  return args.options(name, o, { a = \"any\" })\nend\nh(\"x.f\", o)\nh(\"x.g\", o)\n";
        let found = calls(source);
        assert!(!found[0].is_literal);
        assert_eq!(names_given(source, &found[0]), ["x.f", "x.g"]);
    }
}
