//! `rpitr new NAME`: a first script of one's own, from the templates in `stdlib/templates`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::engine::library;
use crate::exit;
use crate::failure::{Failure, Kind};

/// What to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ScriptKind {
    /// A recovery exercise with a verdict
    #[default]
    Drill,
    /// A plain script
    Script,
    /// Faults under load, and the proof
    Chaos,
    /// Tests in Lua
    Test,
}

impl ScriptKind {
    fn template(self) -> &'static str {
        match self {
            ScriptKind::Drill => "templates/drill.lua",
            ScriptKind::Script => "templates/script.lua",
            ScriptKind::Chaos => "templates/chaos.lua",
            ScriptKind::Test => "templates/test.lua",
        }
    }

    fn file_name(self, name: &str) -> String {
        match self {
            ScriptKind::Test => format!("{}_test.lua", name.trim_end_matches("_test")),
            _ => format!("{name}.lua"),
        }
    }

    /// What to type next, to check and to run it.
    fn run(self) -> &'static str {
        match self {
            ScriptKind::Test => "rpitr test ",
            _ => "rpitr ",
        }
    }
}

/// Writes the script and says what to do with it. A file that is there stays as it is.
pub fn new(name: &str, kind: ScriptKind) -> Result<i32, Failure> {
    let (folder, stem) = split(name)?;
    let path = folder.join(kind.file_name(&stem));
    let template = library().find(|(file, _)| *file == kind.template());
    let (_, template) = template
        .ok_or_else(|| Failure::new(Kind::Internal, format!("{} is missing", kind.template())))?;
    let own = stem.trim_end_matches("_test");
    write_new(&path, &template.replace("NAME", own))?;
    let path = path.display();
    outln!("{path} written. Next:");
    outln!("  rpitr check {path}");
    outln!("  {}{path}", kind.run());
    Ok(exit::PASS)
}

/// Folder and name of `drills/first.lua`.
fn split(name: &str) -> Result<(PathBuf, String), Failure> {
    let path = Path::new(name);
    let file = path.file_name().and_then(|file| file.to_str());
    let stem = file.unwrap_or_default().trim_end_matches(".lua");
    let fine = !name.ends_with('/')
        && stem.starts_with(|c: char| c.is_ascii_alphabetic())
        && stem
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !fine {
        let message = format!("\"{name}\" is no name for a script");
        return Err(Failure::new(Kind::Arg, message)
            .code("usage")
            .hint("letters, digits, _ and -, a letter first: rpitr new my_drill"));
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    Ok((folder, stem.to_string()))
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            Kind::Arg,
            format!("{} is there already and stays as it is", path.display()),
        )
        .code("usage")
        .hint("give another name"),
        _ => Failure {
            kind: Kind::Arg,
            ..Failure::io("write", path, &error)
        }
        .code("usage"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let parts = |name| split(name).map(|(folder, stem)| (folder.display().to_string(), stem));
        assert_eq!(parts("first"), Ok((String::new(), "first".into())));
        assert_eq!(parts("drills/a-b.lua"), Ok(("drills".into(), "a-b".into())));
        for bad in ["", "1st", "a b", "x\"y", "drills/", "..", "é"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
        assert_eq!(ScriptKind::Test.file_name("a_test"), "a_test.lua");
    }
}
