//! The line editor's thread.
//!
//! `readline` blocks, and the Lua thread must not: the editor has a thread of its own and talks
//! through channels. Completion needs the live Lua state, so it is asked for through the same channel
//! and answered while the Lua thread waits for the line; an answer that takes too long is not waited
//! for. Input that is no terminal is read line by line, without prompts, so that sessions can be piped.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mlua::Lua;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, ExternalPrinter};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::helper::Helper;
use super::syntax::{Verdict, judge};

/// How long the editor waits for completions before it offers none. They take a few milliseconds; the
/// Lua thread may be busy with a background task.
const COMPLETION_LIMIT: Duration = Duration::from_millis(250);

/// Where the completed word starts, and what it may become.
pub type Candidates = (usize, Vec<String>);

/// What the editor's thread says.
#[derive(Debug)]
pub enum Event {
    Line(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the input.
    End,
    /// The input ended in the middle of a statement.
    Unfinished(String),
    Failed(String),
    Complete {
        line: String,
        pos: usize,
        reply: mpsc::SyncSender<Candidates>,
    },
}

#[derive(Debug, Clone, Default)]
pub struct EditorOptions {
    /// Where the history of this project is kept.
    pub history: Option<PathBuf>,
    pub color: bool,
}

/// Prints above the prompt.
pub type Above = Box<dyn FnMut(String) + Send>;

/// The Lua thread's end of the line editor.
#[derive(Debug)]
pub struct Editor {
    prompts: mpsc::Sender<String>,
    pub events: UnboundedReceiver<Event>,
    /// Whether a person types.
    pub terminal: bool,
}

impl Editor {
    /// Starts the thread. The second result, on a terminal, prints above the prompt.
    pub fn start(options: EditorOptions) -> Result<(Editor, Option<Above>), String> {
        let terminal = io::stdin().is_terminal();
        let (prompts, wanted) = mpsc::channel();
        let (sender, events) = unbounded_channel();
        let (ready, above) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("rpitr-editor".into())
            .spawn(move || {
                if terminal {
                    edit(&options, &wanted, &sender, &ready);
                } else {
                    let _ = ready.send(Ok(None));
                    read(&wanted, &sender);
                }
            })
            .map_err(|error| error.to_string())?;
        let above = above.recv().map_err(|error| error.to_string())??;
        let editor = Editor {
            prompts,
            events,
            terminal,
        };
        Ok((editor, above))
    }

    /// Asks for a line; it arrives as an event. False when the thread has ended.
    pub fn ask(&self, prompt: &str) -> bool {
        self.prompts.send(prompt.to_string()).is_ok()
    }
}

/// How the editor's helper asks the Lua thread.
#[derive(Debug, Clone)]
pub struct Asker(UnboundedSender<Event>);

impl Asker {
    pub fn complete(&self, line: &str, pos: usize) -> Candidates {
        let (reply, answer) = mpsc::sync_channel(1);
        let question = Event::Complete {
            line: line.to_string(),
            pos,
            reply,
        };
        let nothing = (pos, Vec::new());
        if self.0.send(question).is_err() {
            return nothing;
        }
        answer.recv_timeout(COMPLETION_LIMIT).unwrap_or(nothing)
    }
}

type Ready = mpsc::SyncSender<Result<Option<Above>, String>>;

fn edit(
    options: &EditorOptions,
    wanted: &mpsc::Receiver<String>,
    events: &UnboundedSender<Event>,
    ready: &Ready,
) {
    let mut editor = match open(options, Asker(events.clone())) {
        Ok((editor, above)) => {
            let _ = ready.send(Ok(above));
            editor
        }
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
            return;
        }
    };
    while let Ok(prompt) = wanted.recv() {
        let event = match editor.readline(prompt.as_str()) {
            Ok(line) => {
                remember(&mut editor, options, &line);
                Event::Line(line)
            }
            Err(ReadlineError::Interrupted) => Event::Interrupted,
            Err(ReadlineError::Eof) => Event::End,
            Err(error) => Event::Failed(error.to_string()),
        };
        if events.send(event).is_err() {
            break;
        }
    }
}

type LineEditor = rustyline::Editor<Helper, FileHistory>;

fn open(options: &EditorOptions, asker: Asker) -> rustyline::Result<(LineEditor, Option<Above>)> {
    let config = Config::builder()
        .max_history_size(10_000)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        // Without it the list takes a second Tab, and the first says nothing.
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor = LineEditor::with_config(config)?;
    editor.set_helper(Some(Helper::new(asker, options.color)));
    if let Some(path) = &options.history {
        // The first session of a project has none.
        let _ = editor.load_history(path);
    }
    let mut printer = editor.create_external_printer()?;
    let above: Above = Box::new(move |text| {
        let _ = printer.print(text);
    });
    Ok((editor, Some(above)))
}

/// Kept at once: a session that is killed loses nothing.
fn remember(editor: &mut LineEditor, options: &EditorOptions, line: &str) {
    if line.trim().is_empty() || !editor.add_history_entry(line).unwrap_or(false) {
        return;
    }
    if let Some(path) = &options.history {
        // A history that cannot be written is no reason to stop typing.
        let _ = editor.append_history(path);
    }
}

/// Statements from a pipe or a file; no prompt and no echo.
fn read(wanted: &mpsc::Receiver<String>, events: &UnboundedSender<Event>) {
    let lua = Lua::new();
    let mut lines = io::stdin().lock().lines();
    while wanted.recv().is_ok() {
        let mut statement = String::new();
        let event = loop {
            match lines.next() {
                None if statement.is_empty() => break Event::End,
                None => break Event::Unfinished(statement),
                Some(Err(error)) => break Event::Failed(error.to_string()),
                Some(Ok(line)) => {
                    statement.push_str(&line);
                    if judge(&lua, &statement) != Verdict::Unfinished {
                        break Event::Line(statement);
                    }
                    statement.push('\n');
                }
            }
        };
        if events.send(event).is_err() {
            break;
        }
    }
}
