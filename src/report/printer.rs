//! The one printer. Script output, narration, progress and background notices all pass here, so
//! that a spinner never eats a line and nothing but results appears when output is piped.

use std::cell::RefCell;
use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug)]
pub struct Printer {
    color: bool,
    error_color: bool,
    quiet: bool,
    animate: bool,
    spinner: RefCell<Option<ProgressBar>>,
    /// Takes what is printed while a prompt is shown, and shows it above.
    above: RefCell<Option<Above>>,
}

/// See [`Printer::print_above`].
pub struct Above(Box<dyn FnMut(String) + Send>);

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Above")
    }
}

impl Above {
    pub fn new(print: Box<dyn FnMut(String) + Send>) -> Self {
        Above(print)
    }
}

impl Printer {
    pub fn new(choice: ColorChoice, quiet: bool) -> Self {
        let wanted = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // https://no-color.org: set and not empty means no.
            ColorChoice::Auto => {
                terminal
                    && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Printer {
            color: wanted(io::stdout().is_terminal()),
            error_color: wanted(io::stderr().is_terminal()),
            quiet,
            animate: io::stderr().is_terminal() && !quiet,
            spinner: RefCell::default(),
            above: RefCell::default(),
        }
    }

    /// From now on everything goes to `above`, which is taken back by giving `None`. For the time a
    /// prompt is shown: what background tasks print must not tear the line being typed.
    pub fn print_above(&self, above: Option<Above>) -> Option<Above> {
        self.above.replace(above)
    }

    fn went_above(&self, text: &str) -> bool {
        match &mut *self.above.borrow_mut() {
            Some(above) => {
                // Without its newline the editor would draw the prompt behind the text.
                (above.0)(format!("{}\n", text.trim_end_matches('\n')));
                true
            }
            None => false,
        }
    }

    /// Whether standard output is coloured.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Whether standard error is coloured.
    pub fn error_color(&self) -> bool {
        self.error_color
    }

    /// A line of the script's own output. Shown even when quiet: it is what the user asked for.
    /// False when nobody reads any more (`| head`).
    pub fn line(&self, text: &str) -> bool {
        self.write(&format!("{text}\n"))
    }

    /// The same without ending the line.
    pub fn write(&self, text: &str) -> bool {
        if self.went_above(text) {
            return true;
        }
        let written = self.around(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        !written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Narration: what rpitr is doing and why. Silent when quiet.
    pub fn narrate(&self, text: &str) -> bool {
        self.quiet || self.line(text)
    }

    /// A line for standard error.
    pub fn notice(&self, text: &str) {
        if self.went_above(text) {
            return;
        }
        self.around(|| {
            let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
        });
    }

    /// Shows what is under way, with the time it has taken; `None` ends it. Only on a terminal.
    pub fn progress(&self, text: Option<&str>) {
        if !self.animate {
            return;
        }
        let mut spinner = self.spinner.borrow_mut();
        match text {
            Some(text) => {
                let bar = spinner.get_or_insert_with(new_spinner);
                bar.set_message(text.to_string());
            }
            None => {
                if let Some(bar) = spinner.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn around<R>(&self, write: impl FnOnce() -> R) -> R {
        match &*self.spinner.borrow() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn new_spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
