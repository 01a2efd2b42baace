//! The interactive session's terminal half: the line editor on a thread of its own, and what it
//! needs to know of Lua's syntax. The session itself is Lua (`stdlib/rpitr/core/repl/`).

mod editor;
mod helper;
mod hint;
mod lexer;
mod locals;
mod syntax;

pub use editor::{Candidates, Editor, EditorOptions, Event};
pub use locals::{Globalized, globalize};
pub use syntax::{Verdict, judge};
