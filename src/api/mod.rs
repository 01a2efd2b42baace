//! What the standard library says of itself: modules, functions, handles, option tables, read from
//! the LuaCATS comments in its source. Help, completion, `rpitr doc`, `rpitr check`, the reference
//! pages and the editor's stubs all come from here, so none of them can tell another story.

mod comment;
mod drift;
mod file;
mod lookup;
mod members;
mod model;
mod pages;
mod parse;
mod place;
mod scan;
mod spec;
mod stubs;
mod text;
mod types;

pub(crate) use comment::split_type;
pub use drift::drift;
pub use lookup::Entry;
pub use model::{
    Alias, Api, Class, Doc, ErrorKind, Example, Field, Function, Module, Param, Return, Span,
};
pub use pages::pages;
pub use stubs::stubs;
pub use text::Help;
