//! The rules. Each says what is wrong with one kind of place; `walk` says where such places are.

pub mod arguments;
pub mod drill;
pub mod expectation;
pub mod globals;
pub mod members;
pub mod options;
pub mod requires;
pub mod values;
