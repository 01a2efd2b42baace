//! Where rules leave what they find.

use super::finding::{Finding, Rule};
use super::syntax::Span;
use crate::engine::nearest;

#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Off while the script is only read for its facts.
    pub on: bool,
    /// How many calls around this place are there to raise: `test.raises(...)`.
    pub meant_to_fail: usize,
}

impl Report {
    pub fn add(
        &mut self,
        rule: Rule,
        span: &Span,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.on && self.meant_to_fail == 0 {
            self.findings.push(Finding {
                rule,
                message: message.into(),
                hint,
                span: span.clone(),
            });
        }
    }
}

/// `did you mean lab.restore?`, with the nearest of `names` put where `{}` stands.
pub fn suggest<'a>(
    word: &str,
    names: impl Iterator<Item = &'a str>,
    shown: impl Fn(&str) -> String,
) -> Option<String> {
    let near = nearest(word, names)?;
    Some(format!("did you mean {}?", shown(near)))
}
