//! Free TCP ports on the loopback interface.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use super::Error;

/// Below the ranges Linux (32768) and macOS (49152) take client ports from, so that an outgoing
/// connection cannot take a port between its allocation and the server's start.
const FIRST: u16 = 21_000;
const LAST: u16 = 31_999;

/// A port nobody listens on and no lab has reserved. Somebody may take it before the server
/// does: then starting fails with `port_taken` and the caller asks again.
pub fn allocate(reserved: &HashSet<u16>) -> Result<u16, Error> {
    let count = LAST - FIRST + 1;
    let offset = rand::random::<u16>() % count;
    (0..count)
        .map(|step| FIRST + (offset + step) % count)
        .find(|port| !reserved.contains(port) && is_free(*port))
        .ok_or(Error::NoPort {
            first: FIRST,
            last: LAST,
        })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoids_taken_and_reserved_ports() {
        let first = allocate(&HashSet::new()).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        assert!(!is_free(first));
        let all_but_one: HashSet<u16> = (FIRST..=LAST).filter(|port| *port != first).collect();
        assert!(matches!(allocate(&all_but_one), Err(Error::NoPort { .. })));
    }
}
