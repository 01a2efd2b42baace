//! Printing, narration, progress, prompts.

use std::io::BufRead;

use crate::engine::{HostTable, Reason, Shared, guard, shared};
use crate::exit;
use crate::failure::{Failure, Kind};

/// Nobody reads the output any more: the run unwinds, cleans up and ends without a word.
fn heard(shared: &Shared, read: bool) {
    if !read {
        let code = exit::BROKEN_PIPE;
        shared.roots.soft.cancel(Reason::Exit { code });
    }
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.function("print", |lua, text: mlua::LuaString| {
        let shared = shared(lua)?;
        heard(&shared, shared.printer.line(&text.to_string_lossy()));
        Ok(())
    })?;
    host.function("write", |lua, text: mlua::LuaString| {
        let shared = shared(lua)?;
        heard(&shared, shared.printer.write(&text.to_string_lossy()));
        Ok(())
    })?;
    host.function("narrate", |lua, text: mlua::LuaString| {
        let shared = shared(lua)?;
        heard(&shared, shared.printer.narrate(&text.to_string_lossy()));
        Ok(())
    })?;
    host.function("notice", |lua, text: mlua::LuaString| {
        shared(lua)?.printer.notice(&text.to_string_lossy());
        Ok(())
    })?;
    host.function("progress", |lua, text: Option<String>| {
        shared(lua)?.printer.progress(text.as_deref());
        Ok(())
    })?;
    host.function("color", |lua, ()| Ok(shared(lua)?.printer.color()))?;
    // A line typed by the user, or nothing at end of input.
    host.waiting("read_line", |lua, prompt: String| async move {
        let printer = shared(&lua)?.printer.clone();
        printer.progress(None);
        let reading = tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut out = std::io::stderr().lock();
            let _ = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map(|read| (read > 0).then_some(line))
        });
        let line = guard(reading)
            .await?
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?
            .map_err(|error| {
                Failure::new(Kind::Io, format!("cannot read standard input: {error}"))
            })?;
        Ok(line.map(|line| line.trim_end_matches(['\r', '\n']).to_string()))
    })?;
    Ok(())
}
