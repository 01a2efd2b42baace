//! A proxy: its listener, its connections, and the thread all of them share.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::acks::Acks;
use super::frames::Negotiation;
use super::pipe::{End, carry};
use super::rules::{Direction, Rule, Rules};
use crate::chaos::Error;

/// What a proxy and its connections share.
#[derive(Debug)]
pub struct Shared {
    pub rules: watch::Sender<Rules>,
    pub up: AtomicU64,
    pub down: AtomicU64,
    open: AtomicU64,
    accepted: AtomicU64,
    torn: AtomicU64,
    /// All acknowledgements, and those before the fault that loses some.
    acks: Mutex<(Acks, Acks)>,
}

impl Shared {
    /// Counts an acknowledgement; whether it gets lost.
    pub fn loses_ack(&self) -> bool {
        let loss = self.rules.borrow().ack_loss();
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        let since = acks.1;
        acks.0.next(loss, since)
    }
}

/// What a proxy has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    pub open: u64,
    pub accepted: u64,
    /// Connections that were torn down by a fault.
    pub torn: u64,
    /// Bytes to the server and to the clients.
    pub up: u64,
    pub down: u64,
    pub commits: u64,
    pub acks_lost: u64,
}

/// A proxy in front of a server. It closes when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    pub target: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port of `host` and carries connections to `target` (`host:port`).
    pub fn open(host: &str, target: &str) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Listen {
            target: target.to_string(),
            address: host.to_string(),
            source,
        };
        let listener = std::net::TcpListener::bind((host, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(Rules::default()),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            acks: Mutex::default(),
        });
        let handle = background().map_err(failed)?;
        let accepting = accept(listener, target.to_string(), shared.clone());
        handle.spawn(accepting);
        Ok(Proxy {
            address,
            target: target.to_string(),
            shared,
        })
    }

    /// Adds a fault under an id.
    pub fn add(&self, id: u64, rule: Rule) {
        if let Rule::AckLoss(_) = rule {
            let mut acks = self
                .shared
                .acks
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            acks.1 = acks.0;
        }
        self.shared.rules.send_modify(|rules| rules.add(id, rule));
    }

    /// Takes a fault away.
    pub fn remove(&self, id: u64) {
        self.shared.rules.send_modify(|rules| rules.remove(id));
    }

    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let acks = shared.acks.lock().unwrap_or_else(PoisonError::into_inner).0;
        Stats {
            open: get(&shared.open),
            accepted: get(&shared.accepted),
            torn: get(&shared.torn),
            up: get(&shared.up),
            down: get(&shared.down),
            commits: acks.seen,
            acks_lost: acks.lost,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.rules.send_modify(|rules| {
            rules.closed = true;
            rules.generation += 1;
        });
    }
}

/// The thread of all proxies.
fn background() -> io::Result<Handle> {
    static THREAD: OnceLock<Handle> = OnceLock::new();
    if let Some(handle) = THREAD.get() {
        return Ok(handle.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("rpitr-proxy".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(THREAD.get_or_init(|| handle).clone())
}

async fn accept(listener: std::net::TcpListener, target: String, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut rules = shared.rules.subscribe();
    loop {
        let client = tokio::select! {
            _ = rules.wait_for(|rules| rules.closed) => return,
            client = listener.accept() => client,
        };
        // Out of descriptors for a moment: nothing is lost by trying again.
        let Ok((client, _)) = client else {
            tokio::task::yield_now().await;
            continue;
        };
        let (target, shared) = (target.clone(), shared.clone());
        tokio::spawn(async move {
            shared.accepted.fetch_add(1, Ordering::Relaxed);
            shared.open.fetch_add(1, Ordering::Relaxed);
            let _ = serve(client, &target, &shared).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(client: TcpStream, target: &str, shared: &Shared) -> io::Result<()> {
    let mut rules = shared.rules.subscribe();
    let generation = rules.borrow().generation;
    if rules.borrow().refuses() {
        return tear(&client, None, shared);
    }
    let _ = client.set_nodelay(true);
    let outdated = rules.wait_for(|rules| rules.generation != generation);
    let work = async {
        let mut cut = shared.rules.subscribe();
        let _ = cut.wait_for(|rules| !rules.is_cut(Direction::Up)).await;
        TcpStream::connect(target).await
    };
    let server = tokio::select! {
        _ = outdated => None,
        server = work => Some(server),
    };
    let server = match server {
        Some(Ok(server)) => server,
        // A server that does not listen refuses; so does its proxy.
        _ => return tear(&client, None, shared),
    };
    let _ = server.set_nodelay(true);
    let negotiation = Negotiation::default();
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let torn = {
        let up = carry(
            Direction::Up,
            &mut client_in,
            &mut server_out,
            shared,
            &negotiation,
        );
        let down = carry(
            Direction::Down,
            &mut server_in,
            &mut client_out,
            shared,
            &negotiation,
        );
        let outdated = rules.wait_for(|rules| rules.generation != generation);
        tokio::select! {
            _ = outdated => true,
            torn = both(up, down) => torn,
        }
    };
    if torn
        && let (Ok(client), Ok(server)) =
            (client_in.reunite(client_out), server_in.reunite(server_out))
    {
        return tear(&client, Some(&server), shared);
    }
    Ok(())
}

/// Waits for the end of both directions; whether the connection is to be torn down.
async fn both(
    up: impl Future<Output = io::Result<End>>,
    down: impl Future<Output = io::Result<End>>,
) -> bool {
    let whole = |end: io::Result<End>| match end {
        Ok(End::Eof) => Ok(()),
        Ok(End::Tear) | Err(_) => Err(()),
    };
    let up = async { whole(up.await) };
    let down = async { whole(down.await) };
    tokio::try_join!(up, down).is_err()
}

/// Both ends see a reset when the sockets are dropped.
fn tear(client: &TcpStream, server: Option<&TcpStream>, shared: &Shared) -> io::Result<()> {
    shared.torn.fetch_add(1, Ordering::Relaxed);
    client.set_zero_linger()?;
    server.map_or(Ok(()), TcpStream::set_zero_linger)
}
