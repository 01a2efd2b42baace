//! Reading a page: its fenced blocks, the comments that say what a block is, the commands in it.
//!
//! Comments on the line before a fence, invisible in the rendered page:
//!
//! * `<!-- file: NAME -->`: the block is a file; the commands of the page find it in their folder.
//! * `<!-- not run: REASON -->`: the commands in the block are not run, and why.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// Where its first line is, counted from 1.
    pub line: usize,
    /// The heading it stands under: `## ` and the text.
    pub section: String,
    /// What stands behind the backticks: `sh`, `console`, `lua`, `text` or nothing.
    pub language: String,
    pub lines: Vec<String>,
    pub mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    None,
    File(String),
    NotRun(String),
}

/// A command of a page.
#[derive(Debug)]
pub struct Command {
    pub line: usize,
    pub text: String,
    /// What it must end with: `# exit code N` behind it, or 0.
    pub exit_code: i32,
    /// The output the page shows below it.
    pub shown: Vec<String>,
}

/// What a page asks its reader to do, in order.
#[derive(Debug)]
pub enum Act {
    Write { name: String, text: String },
    Run(Command),
}

/// Every page of the documentation.
pub fn all() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn mark_of(line: &str) -> Mark {
    let comment = line
        .trim()
        .strip_prefix("<!--")
        .and_then(|rest| rest.strip_suffix("-->"));
    let Some((name, value)) = comment.and_then(|text| text.split_once(':')) else {
        return Mark::None;
    };
    match name.trim() {
        "file" => Mark::File(value.trim().to_string()),
        "not run" => Mark::NotRun(value.trim().to_string()),
        _ => Mark::None,
    }
}

/// The fenced blocks of a page.
pub fn blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let (mut before, mut section) = ("", "");
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim_start() == "```" => found.extend(open.take()),
            Some(block) => block.lines.push(line.to_string()),
            None => {
                if let Some(language) = line.trim_start().strip_prefix("```") {
                    open = Some(Block {
                        line: index + 2,
                        section: section.to_string(),
                        language: language.trim().to_string(),
                        lines: Vec::new(),
                        mark: mark_of(before),
                    });
                }
                if !line.trim().is_empty() {
                    before = line;
                }
                if line.starts_with("## ") {
                    section = line;
                }
            }
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", path.display());
    found
}

impl Block {
    /// Whether its lines are commands of a shell.
    pub fn has_commands(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "console")
    }

    /// The commands in it, with what the page shows of their output.
    pub fn commands(&self) -> Vec<Command> {
        let mut found: Vec<Command> = Vec::new();
        let mut goes_on = false;
        for (index, line) in self.lines.iter().enumerate() {
            let typed = match self.language.as_str() {
                _ if goes_on => Some(line.as_str()),
                "console" => line.strip_prefix("$ "),
                _ => Some(line.as_str())
                    .filter(|line| !line.starts_with('#') && !line.trim().is_empty()),
            };
            match (typed, found.last_mut()) {
                (Some(text), Some(last)) if goes_on => {
                    last.text.push('\n');
                    last.text.push_str(text);
                }
                (Some(text), _) => found.push(Command {
                    line: self.line + index,
                    text: text.to_string(),
                    exit_code: 0,
                    shown: Vec::new(),
                }),
                (None, Some(last)) => last.shown.push(line.clone()),
                (None, None) if line.trim().is_empty() => {}
                (None, None) if self.language == "sh" => {}
                (None, None) => panic!("line {}: output without a command", self.line + index),
            }
            goes_on = typed.is_some_and(|text| text.ends_with('\\'));
        }
        for command in &mut found {
            if let Some((text, code)) = command.text.rsplit_once("# exit code ")
                && let Ok(code) = code.trim().parse()
            {
                command.exit_code = code;
                command.text = text.trim_end().to_string();
            }
            if self.language == "sh" {
                command.shown.clear();
            }
        }
        found
    }
}

/// What a page asks for, in order; of one section, when its heading begins with `section`.
pub fn acts(path: &Path, section: &str) -> Vec<Act> {
    let mut acts = Vec::new();
    for block in blocks(path) {
        if !block.section.starts_with(section) {
            continue;
        }
        match &block.mark {
            Mark::File(name) => acts.push(Act::Write {
                name: name.clone(),
                text: block.lines.join("\n") + "\n",
            }),
            Mark::None if block.has_commands() => {
                acts.extend(block.commands().into_iter().map(Act::Run));
            }
            _ => {}
        }
    }
    acts
}
