//! The global options of a run, as the command line gives them and the standard library sees them.

use std::path::PathBuf;
use std::time::Duration;

use mlua::{Lua, Table};

use crate::report::ColorChoice;

/// When labs survive the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Keep {
    #[default]
    Never,
    Failed,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ErrorFormat {
    #[default]
    Human,
    Json,
}

/// The global options of a run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    pub runtime: String,
    /// The standing environment to work beside.
    pub lab: Option<String>,
    pub keep: Keep,
    pub seed: u64,
    pub run_id: String,
    pub timeout: Option<Duration>,
    /// How much of it has gone by before this process began.
    pub spent: Duration,
    pub report: Option<PathBuf>,
    pub trace: bool,
    pub dry_run: bool,
    pub quiet: bool,
    pub yes: bool,
    pub color: ColorChoice,
    pub error_format: ErrorFormat,
    /// The script is only looked at: nothing is started.
    pub inspecting: bool,
    /// Whether a person can answer a prompt.
    pub interactive: bool,
    /// The names of the global options, for suggestions.
    pub global_flags: Vec<String>,
}

impl RunOptions {
    /// What the standard library sees of the options.
    pub fn to_lua(&self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("runtime", self.runtime.as_str())?;
        table.raw_set("lab", self.lab.as_deref())?;
        table.raw_set(
            "keep",
            match self.keep {
                Keep::Never => "never",
                Keep::Failed => "failed",
                Keep::Always => "always",
            },
        )?;
        table.raw_set("seed", self.seed)?;
        table.raw_set("run_id", self.run_id.as_str())?;
        table.raw_set(
            "report",
            self.report.as_ref().map(|path| path.display().to_string()),
        )?;
        table.raw_set("trace", self.trace)?;
        table.raw_set("dry_run", self.dry_run)?;
        table.raw_set("quiet", self.quiet)?;
        table.raw_set("yes", self.yes)?;
        table.raw_set("interactive", self.interactive)?;
        table.raw_set("global_flags", self.global_flags.as_slice())?;
        Ok(table)
    }
}
