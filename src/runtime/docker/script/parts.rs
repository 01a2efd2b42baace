//! What an engine sends bit by bit: the output of programs, logs, the progress of a pull or a build.

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::super::Error;

/// Where a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
    Progress,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::Progress => "progress",
        }
    }
}

/// A piece of what is sent.
#[derive(Debug)]
pub struct Part {
    pub source: Source,
    pub bytes: Vec<u8>,
}

/// Parts that wait to be read before the engine has to.
const AHEAD: usize = 16;

/// The parts, in order. Dropping it ends the request.
#[derive(Debug)]
pub struct Parts {
    receiver: mpsc::Receiver<Result<Part, Error>>,
    task: AbortHandle,
}

impl Parts {
    /// Reads `stream` beside whatever else goes on.
    pub(super) fn of<S>(stream: impl FnOnce() -> S + Send + 'static) -> Self
    where
        S: Stream<Item = Result<Part, Error>> + Send,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream());
            while let Some(part) = stream.next().await {
                if sender.send(part).await.is_err() {
                    break;
                }
            }
        });
        Parts {
            receiver,
            task: task.abort_handle(),
        }
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Part>, Error> {
        self.receiver.recv().await.transpose()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.task.abort();
    }
}
