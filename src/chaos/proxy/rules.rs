//! What a proxy does to the traffic it carries.

use std::collections::BTreeMap;
use std::time::Duration;

use super::acks::AckLoss;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// One fault of an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Nothing passes; connections stay open and go on when it is healed, as after a cut cable.
    Cut { up: bool, down: bool },
    /// Every chunk arrives later, in order.
    Latency { delay: Duration, jitter: Duration },
    /// Bytes each second, in either direction.
    Rate(u64),
    /// Connections are torn down (RST), new ones too.
    Reset,
    /// The server's answer to a COMMIT is swallowed and the connection torn down.
    AckLoss(AckLoss),
}

/// All faults of an edge at a moment.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    faults: BTreeMap<u64, Rule>,
    /// Connections of an older generation are torn down.
    pub generation: u64,
    /// The proxy is closed.
    pub closed: bool,
}

impl Rules {
    pub fn add(&mut self, id: u64, rule: Rule) {
        if rule == Rule::Reset {
            self.generation += 1;
        }
        self.faults.insert(id, rule);
    }

    pub fn remove(&mut self, id: u64) {
        self.faults.remove(&id);
    }

    pub fn is_cut(&self, way: Direction) -> bool {
        self.faults.values().any(|rule| match rule {
            Rule::Cut { up, down } => match way {
                Direction::Up => *up,
                Direction::Down => *down,
            },
            _ => false,
        })
    }

    pub fn refuses(&self) -> bool {
        self.closed || self.faults.values().any(|rule| *rule == Rule::Reset)
    }

    /// The delay of the next chunk.
    pub fn delay(&self) -> Duration {
        let of = |rule: &Rule| match rule {
            Rule::Latency { delay, jitter } => *delay + jitter.mul_f64(rand::random::<f64>()),
            _ => Duration::ZERO,
        };
        self.faults.values().map(of).sum()
    }

    /// Bytes each second, if they are limited.
    pub fn rate(&self) -> Option<u64> {
        let of = |rule: &Rule| match rule {
            Rule::Rate(bytes) => Some((*bytes).max(1)),
            _ => None,
        };
        self.faults.values().filter_map(of).min()
    }

    pub fn ack_loss(&self) -> Option<AckLoss> {
        self.faults.values().find_map(|rule| match rule {
            Rule::AckLoss(loss) => Some(*loss),
            _ => None,
        })
    }
}
