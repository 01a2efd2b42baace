//! What the standard library says of itself: modules, functions, handles, option tables, read from
//! the LuaCATS comments in its source. Help, completion, `rpitr doc`, `rpitr check`, the reference
//! pages and the editor's stubs all come from here, so none of them can tell another story.

mod comment;
mod file;
mod lookup;
mod model;
mod parse;
mod scan;
mod types;

pub(crate) use comment::split_type;
pub use lookup::Entry;
pub use model::{
    Alias, Api, Class, Doc, ErrorKind, Example, Field, Function, Module, Param, Return, Span,
};
