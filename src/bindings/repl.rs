//! The interactive session's host functions: the line editor, and what it knows of Lua's syntax.

use std::cell::RefCell;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::{Function, Lua, UserData, UserDataRef};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::engine::{HostTable, guard, shared};
use crate::failure::{Failure, Kind};
use crate::repl::{Editor, EditorOptions, Event, globalize};
use crate::report::Above;
use crate::runtime::StateRoot;

/// The line editor as Lua holds it.
#[derive(Debug)]
struct EditorHandle {
    editor: Mutex<Editor>,
    terminal: bool,
    above: RefCell<Option<Above>>,
    /// How the terminal was before: a run may end while the editor has it in raw mode.
    before: Option<Termios>,
}

impl Drop for EditorHandle {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

#[derive(Debug, Clone)]
struct Handle(Rc<EditorHandle>);
impl UserData for Handle {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // Starts the line editor; `history` is the file it keeps. Returns it and whether a person types.
    host.function("repl_open", |lua, history: Option<PathBuf>| {
        let options = EditorOptions {
            history,
            color: shared(lua)?.printer.color(),
        };
        let before = tcgetattr(std::io::stdin()).ok();
        let (editor, above) = Editor::start(options).map_err(|error| {
            Failure::new(Kind::Io, format!("cannot read from the terminal: {error}"))
        })?;
        let handle = EditorHandle {
            terminal: editor.terminal,
            editor: Mutex::new(editor),
            above: RefCell::new(above.map(Above::new)),
            before,
        };
        let terminal = handle.terminal;
        Ok((Handle(Rc::new(handle)), terminal))
    })?;
    // The next statement: ("line", text), ("interrupted"), ("end"), ("unfinished", text).
    // `complete(line, position)` must not wait; it returns where the word starts and a list.
    host.waiting(
        "repl_read",
        |lua, (handle, prompt, complete): (UserDataRef<Handle>, String, Function)| {
            let handle = handle.0.clone();
            async move { read(&lua, &handle, &prompt, &complete).await }
        },
    )?;
    // Where this project's history is kept; nothing when there is no place for it.
    host.function("repl_history", |_, ()| Ok(history_file()))?;
    host.function("program_path", |_, ()| {
        std::env::current_exe().map_err(|error| Failure::new(Kind::Io, error.to_string()))
    })?;
    host.function("repl_globalize", |_, source: String| {
        let globalized = globalize(&source);
        Ok((globalized.source, globalized.closed))
    })?;
    Ok(())
}

/// One file a project, named after its folder; readable by its owner only, for statements hold data.
fn history_file() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    let state = StateRoot::default_path().ok()?;
    // The servers' account must be able to pass through the state folder, not look in here.
    let make = |path: &Path, mode| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
    };
    let home = state.join("history");
    make(&state, 0o755).and_then(|()| make(&home, 0o700)).ok()?;
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let tag: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Some(home.join(format!("{name}-{tag}")))
}

async fn read(
    lua: &Lua,
    handle: &EditorHandle,
    prompt: &str,
    complete: &Function,
) -> Result<(&'static str, Option<String>), Failure> {
    let mut editor = handle
        .editor
        .try_lock()
        .map_err(|_| Failure::new(Kind::State, "another task is already at the prompt"))?;
    let printer = shared(lua)?.printer.clone();
    printer.progress(None);
    if !editor.ask(prompt) {
        return Ok(("end", None));
    }
    printer.print_above(handle.above.borrow_mut().take());
    let outcome = loop {
        match guard(editor.events.recv()).await {
            Ok(Some(Event::Complete { line, pos, reply })) => {
                let found = complete.call::<(usize, Vec<String>)>((line, pos));
                // What cannot be completed is not; nobody typing wants to read why.
                let _ = reply.send(found.unwrap_or((pos, Vec::new())));
            }
            Ok(event) => break Ok(event),
            Err(tripped) => break Err(tripped),
        }
    };
    *handle.above.borrow_mut() = printer.print_above(None);
    match outcome? {
        Some(Event::Line(text)) => Ok(("line", Some(text))),
        Some(Event::Unfinished(text)) => Ok(("unfinished", Some(text))),
        Some(Event::Interrupted) => Ok(("interrupted", None)),
        Some(Event::Failed(message)) => Err(Failure::new(
            Kind::Io,
            format!("cannot read the next line: {message}"),
        )),
        Some(Event::End | Event::Complete { .. }) | None => Ok(("end", None)),
    }
}
