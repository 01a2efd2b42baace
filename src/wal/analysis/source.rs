//! Hands out stretches in order: read in the calling thread, or by several threads ahead of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::digest::CatalogFiles;
use super::stretch::{Range, Stretch};
use crate::wal::Wal;

/// The files of catalogs known so far, shared with the threads that read ahead.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedFiles(Arc<Mutex<CatalogFiles>>);

impl SharedFiles {
    pub fn get(&self) -> CatalogFiles {
        locked(&self.0).clone()
    }

    pub fn add(&self, files: impl Iterator<Item = (u32, u32)>) {
        let mut known = locked(&self.0);
        for (database, number) in files {
            known.add(database, number);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `consume` with the stretches of `ranges`.
pub(super) fn stretches<T>(
    wal: &Wal,
    ranges: VecDeque<Range>,
    threads: usize,
    files: SharedFiles,
    consume: impl FnOnce(&mut dyn Iterator<Item = Stretch>) -> T,
) -> T {
    if threads <= 1 {
        let mut source = ranges
            .into_iter()
            .map(|range| Stretch::read(wal, range, files.get()));
        return consume(&mut source);
    }
    let queue = Queue {
        state: Mutex::new(State {
            total: ranges.len(),
            ranges,
            ..State::default()
        }),
        changed: Condvar::new(),
        // Enough to keep every thread busy, few enough to keep memory constant.
        window: threads + 2,
    };
    std::thread::scope(|scope| {
        // Threads stop asking when the consumer is done, even by a panic.
        let _closing = Closing(&queue);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, range)) = queue.next_job() {
                    let stretch = Stretch::read(wal, range, files.get());
                    queue.deliver(index, stretch);
                }
            });
        }
        let mut index = 0;
        let mut source = std::iter::from_fn(|| {
            let stretch = queue.wait_for(index);
            index += 1;
            stretch
        });
        consume(&mut source)
    })
}

#[derive(Default)]
struct State {
    ranges: VecDeque<Range>,
    total: usize,
    started: usize,
    consumed: usize,
    done: BTreeMap<usize, Stretch>,
    closed: bool,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    window: usize,
}

impl Queue {
    fn next_job(&self) -> Option<(usize, Range)> {
        let mut state = locked(&self.state);
        loop {
            if state.closed || state.ranges.is_empty() {
                return None;
            }
            if state.started < state.consumed + self.window {
                let range = state.ranges.pop_front()?;
                state.started += 1;
                return Some((state.started - 1, range));
            }
            state = self.wait(state);
        }
    }

    fn deliver(&self, index: usize, stretch: Stretch) {
        locked(&self.state).done.insert(index, stretch);
        self.changed.notify_all();
    }

    fn wait_for(&self, index: usize) -> Option<Stretch> {
        let mut state = locked(&self.state);
        if index >= state.total {
            return None;
        }
        state.consumed = index;
        self.changed.notify_all();
        loop {
            if let Some(stretch) = state.done.remove(&index) {
                return Some(stretch);
            }
            state = self.wait(state);
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Closing<'q>(&'q Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        locked(&self.0.state).closed = true;
        self.0.changed.notify_all();
    }
}
