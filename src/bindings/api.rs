//! What help and completion at the prompt ask of the library's index.

use crate::api::{Api, Help};
use crate::engine::{HostTable, shared};

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // Reads the index now rather than when somebody waits for it.
    host.function("api_warm", |_, ()| {
        Api::embedded();
        Ok(())
    })?;
    // Help as text; with `source`, the function's own text below it.
    host.function("api_help", |lua, (name, source): (String, bool)| {
        let help = Help {
            api: Api::embedded(),
            color: shared(lua)?.printer.color(),
        };
        help.named(&name, source)
    })?;
    // The options of a function: names and types, in the order they are described.
    host.function("api_options", |_, name: String| {
        let api = Api::embedded();
        let options = api.option_fields(&name);
        Ok(options
            .iter()
            .map(|field| vec![field.name.clone(), field.ty.replace("rpitr.", "")])
            .collect::<Vec<_>>())
    })?;
    // What can stand behind `owner.` (fields and functions) or `owner:` (methods only).
    host.function("api_members", |_, (owner, methods): (String, bool)| {
        Ok(Api::embedded().members(&owner, methods))
    })?;
    // Whether the name is there but not for scripts.
    host.function("api_private", |_, owner: String| {
        Ok(Api::embedded().private_members(&owner))
    })?;
    // The handle a function gives: `rpitr.Node` for lab.postgres.
    host.function("api_returned", |_, name: String| {
        Ok(Api::embedded().returned_handle(&name).map(str::to_string))
    })?;
    Ok(())
}
