//! Comparing the output a page shows with what a command prints. Numbers, times, positions and ids
//! differ from run to run and are masked; everything else must be there, line by line and in order.
//!
//! A line `...` stands for any lines, ` ...` at the end of a line for the rest of it.

/// A word that differs from run to run: it has a digit, or is an id in hexadecimal.
fn varies(word: &str) -> bool {
    let id = word.strip_prefix("rpitr-").unwrap_or(word);
    let is_id =
        (6..=8).contains(&id.len()) && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    is_id || word.chars().any(|c| c.is_ascii_digit())
}

fn belongs_to_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | ':' | '+' | '-' | '~' | '%')
}

/// The line with everything that varies as `#`, and one space for many.
pub fn masked(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        // Punctuation behind a word is the sentence's.
        let bare = word.trim_end_matches(['.', ':']).len();
        let (word_itself, rest) = word.split_at(bare);
        out.push_str(if varies(word_itself) {
            "#"
        } else {
            word_itself
        });
        out.push_str(rest);
        word.clear();
    };
    for c in line.chars() {
        if belongs_to_word(c) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    let words: Vec<&str> = out.split_whitespace().collect();
    let mut plain = words.join(" ");
    // A duration or a size may come in another unit the next time.
    for unit in ["# min # s", "# ms", "# s"] {
        plain = replace_word(&plain, unit, "#time");
    }
    for unit in ["# B", "# kB", "# MB", "# GB"] {
        plain = replace_word(&plain, unit, "#size");
    }
    plain
}

fn replace_word(text: &str, unit: &str, by: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(unit) {
        let end = at + unit.len();
        let whole = !rest[end..].starts_with(|c: char| c.is_alphanumeric());
        out.push_str(&rest[..at]);
        out.push_str(if whole { by } else { unit });
        rest = &rest[end..];
    }
    out + rest
}

/// The first shown line that was not printed, in order; `None` when all of them were.
pub fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let printed: Vec<String> = printed.lines().map(masked).collect();
    let mut from = 0;
    for line in shown {
        let text = line.trim();
        if text.is_empty() || text == "..." {
            continue;
        }
        let found = match text.strip_suffix(" ...") {
            Some(start) => {
                let start = masked(start);
                printed[from..]
                    .iter()
                    .position(|line| line.starts_with(&start))
            }
            None => {
                let whole = masked(text);
                printed[from..].iter().position(|line| *line == whole)
            }
        };
        match found {
            Some(at) => from += at + 1,
            None => return Some(line),
        }
    }
    None
}

#[test]
fn what_varies_is_masked_and_the_rest_is_not() {
    assert_eq!(
        masked("  Backup nightly: 30.1 MB, at 0/30AEDB0."),
        "Backup nightly: #size, at #."
    );
    assert_eq!(masked("✓ done  2.71 s"), "✓ done #time");
    assert_eq!(masked("✓ done  217 ms"), masked("✓ done  1 min 3 s"));
    assert_eq!(
        masked("lab rpitr-abcdef is kept: yes"),
        "lab # is kept: yes"
    );
    assert_ne!(masked("PROVED pitr"), masked("NOT PROVED pitr"));
}

#[test]
fn shown_lines_must_come_in_order() {
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    let printed = "a 1\nb 2 and more\nc\nd\n";
    assert_eq!(missing(&lines("a 9\n...\nb 7 ...\nd"), printed), None);
    assert_eq!(missing(&lines("b 2 ...\na 1"), printed), Some("a 1"));
    assert_eq!(missing(&lines("a 1\nx"), printed), Some("x"));
}
