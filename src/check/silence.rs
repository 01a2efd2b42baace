//! Comments that silence findings, as the Lua language server understands them:
//! `---@diagnostic disable-next-line: unknown_option`, `disable-line`, `disable` and `enable`. Without
//! names all rules are meant; the server's own names for the same are understood, too.

use super::finding::{Finding, Place, Rule};

/// Takes away what the script asks not to be told.
pub fn heed(source: &str, findings: Vec<Finding>) -> Vec<Finding> {
    if !source.contains("---@diagnostic") {
        return findings;
    }
    let lines: Vec<&str> = source.lines().collect();
    let silenced = |finding: &Finding| {
        let line = Place::of(source, &finding.span).line;
        is_silenced(&lines, line, finding.rule)
    };
    findings
        .into_iter()
        .filter(|finding| !silenced(finding))
        .collect()
}

/// `line` counts from 1.
fn is_silenced(lines: &[&str], line: usize, rule: Rule) -> bool {
    let on = |number: usize, action: &str| {
        let text = number.checked_sub(1).and_then(|at| lines.get(at));
        text.is_some_and(|text| says(text, action, rule))
    };
    if on(line, "disable-line") || on(line - 1, "disable-next-line") {
        return true;
    }
    let so_far = lines.iter().take(line).rev();
    for text in so_far {
        if says(text, "enable", rule) {
            return false;
        }
        if says(text, "disable", rule) {
            return true;
        }
    }
    false
}

/// Whether a line says `---@diagnostic ACTION[: rule, rule]` about this rule.
fn says(text: &str, action: &str, rule: Rule) -> bool {
    let Some((_, rest)) = text.split_once("---@diagnostic") else {
        return false;
    };
    let rest = rest.trim_start_matches([':', ' ']);
    let (word, rules) = rest.split_once(':').unwrap_or((rest, ""));
    let mut rules = rules
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    word.trim() == action
        && (rules.clone().next().is_none() || rules.any(|one| is_meant(one, rule)))
}

fn is_meant(name: &str, rule: Rule) -> bool {
    name == rule.name() || Some(name) == rule.language_server_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_silence_lines_and_stretches() {
        let text = "\
x()
---@diagnostic disable-next-line: undeclared
y()
z() ---@diagnostic disable-line
---@diagnostic disable: undefined-global
a()
---@diagnostic enable: undeclared
b()";
        let lines: Vec<&str> = text.lines().collect();
        let silenced = |line| is_silenced(&lines, line, Rule::Undeclared);
        assert_eq!(
            (1..=8).filter(|line| silenced(*line)).collect::<Vec<_>>(),
            [3, 4, 5, 6]
        );
        assert!(!is_silenced(&lines, 3, Rule::UnknownOption));
    }
}
