//! The Lua engine: one state on one thread, tasks, cancellation, errors. The only place that knows
//! how mlua works; bindings see [`HostTable`], [`guard`] and [`Failure`](crate::failure::Failure).

mod error_value;
mod guard;
mod host;
mod json;
mod loader;
mod options;
mod render;
mod run;
mod scope;
mod signals;
mod state;
mod syntax;
mod task;

pub use error_value::{ErrorValue, Frame, to_lua as failure_to_lua};
pub use guard::{Guard, guard};
pub use host::HostTable;
pub use json::{from_lua as json_from_lua, to_lua as json_to_lua};
pub use loader::{Source, find_script, find_script_or, library, nearest, scripts};
pub use options::{ErrorFormat, Keep, RunOptions};
pub use render::{RenderOptions, render, render_json};
pub use run::{Outcome, Program, Tally, run, show_failure};
pub use scope::{CONTEXT, Reason, Scope, TaskContext, current, human};
pub use signals::{Roots, Target};
pub use state::{Engine, Shared, shared};
pub use syntax::syntax_error;
