//! One direction of a connection: bytes in, faults, bytes out.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::edge::Shared;
use super::frames::{ClientFrames, Negotiation, ServerFrames};
use super::rules::{Direction, Rules};

const CHUNK: usize = 16 << 10;
/// Chunks on their way; more wait at the sender.
const IN_FLIGHT: usize = 256;

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sender has nothing more to say.
    Eof,
    /// The connection is to be torn down.
    Tear,
}

type Chunk = (Instant, Vec<u8>);

/// Carries bytes until the sender is done.
pub async fn carry(
    way: Direction,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    negotiation: &Negotiation,
) -> io::Result<End> {
    let (send, receive) = mpsc::channel::<Chunk>(IN_FLIGHT);
    let reading = read(way, from, shared, negotiation, send);
    let writing = write(way, to, shared, receive);
    let (end, written) = tokio::join!(reading, writing);
    written?;
    end
}

async fn read(
    way: Direction,
    from: &mut OwnedReadHalf,
    shared: &Shared,
    negotiation: &Negotiation,
    send: mpsc::Sender<Chunk>,
) -> io::Result<End> {
    let mut rules = shared.rules.subscribe();
    let (mut client, mut server) = (ClientFrames::default(), ServerFrames::default());
    let mut due = Instant::now();
    let mut buffer = vec![0u8; CHUNK];
    loop {
        let got = from.read(&mut buffer).await?;
        if got == 0 {
            return Ok(End::Eof);
        }
        passable(&mut rules, way).await;
        let mut bytes = &buffer[..got];
        let mut end = None;
        match way {
            Direction::Up => client.feed(bytes, negotiation),
            Direction::Down => {
                if let Some(at) = lost_ack(bytes, &mut server, shared, negotiation) {
                    bytes = &bytes[..at];
                    end = Some(End::Tear);
                }
            }
        }
        // Later chunks never overtake earlier ones.
        due = due.max(Instant::now() + rules.borrow().delay());
        let sent = send.send((due, bytes.to_vec())).await;
        if let Some(end) = end {
            return Ok(end);
        }
        if sent.is_err() {
            return Ok(End::Tear);
        }
    }
}

/// Where the first acknowledgement begins that gets lost.
fn lost_ack(
    bytes: &[u8],
    frames: &mut ServerFrames,
    shared: &Shared,
    negotiation: &Negotiation,
) -> Option<usize> {
    let mut at = 0;
    while let Some((start, end)) = frames.next_commit(&bytes[at..], negotiation) {
        if shared.loses_ack() {
            return Some(at + start);
        }
        at += end;
    }
    None
}

async fn write(
    way: Direction,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    mut receive: mpsc::Receiver<Chunk>,
) -> io::Result<()> {
    let mut rules = shared.rules.subscribe();
    let counter = match way {
        Direction::Up => &shared.up,
        Direction::Down => &shared.down,
    };
    while let Some((due, bytes)) = receive.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        // What was on its way when the cable was cut waits, too.
        passable(&mut rules, way).await;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let rate = rules.borrow().rate();
            let piece = match rate {
                // A twentieth of a second's worth, so that the flow is even.
                Some(rate) => rest.len().min((rate / 20).max(1) as usize),
                None => rest.len(),
            };
            let (now, later) = rest.split_at(piece);
            to.write_all(now).await?;
            counter.fetch_add(piece as u64, Ordering::Relaxed);
            if let Some(rate) = rate {
                tokio::time::sleep(Duration::from_secs_f64(piece as f64 / rate as f64)).await;
            }
            rest = later;
        }
    }
    // The half that is done may be closed while the other goes on.
    let _ = to.shutdown().await;
    Ok(())
}

/// Waits until bytes may pass.
async fn passable(rules: &mut watch::Receiver<Rules>, way: Direction) {
    let open = |rules: &Rules| !rules.is_cut(way) || rules.closed;
    let _ = rules.wait_for(open).await;
}
