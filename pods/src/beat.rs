//! The proxy's heartbeat: datagrams to a port of loopback that nobody listens on. The pod's rules see that they are of the
//! proxy's user, note that it lives, and drop them ([`crate::redirect`]). Needs no capability.

use crate::ways::BEAT;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long from one to the next: twice a second.
pub const EVERY: Duration = Duration::from_millis(500);

/// The sockets of a heart, for each family that there is.
#[derive(Debug)]
pub struct Heart {
    sockets: Vec<(UdpSocket, SocketAddr)>,
}

impl Heart {
    /// Opens them in the network of this thread.
    pub fn new() -> io::Result<Heart> {
        let mut sockets = Vec::new();
        let loopback =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        let mut first = None;
        for own in loopback {
            match UdpSocket::bind(own) {
                Ok(socket) => {
                    socket.set_nonblocking(true)?;
                    sockets.push((socket, SocketAddr::new(own.ip(), BEAT)));
                }
                // A pod may have one family only.
                Err(e) => drop(first.get_or_insert(e)),
            }
        }
        match (sockets.is_empty(), first) {
            (true, Some(e)) => Err(e),
            _ => Ok(Heart { sockets }),
        }
    }

    /// Beats once; whether the rules are there and heard it. Never waits.
    pub fn beat(&self) -> bool {
        let mut heard = false;
        for (socket, to) in &self.sockets {
            // What a rule drops on its way out fails with EPERM.
            heard |= matches!(socket.send_to(&[1], to), Err(e) if e.kind() == ErrorKind::PermissionDenied);
        }
        heard
    }
}

/// The address that stands for all addresses of this machine, for listening: IPv6's, which takes IPv4 too, where there is one.
pub fn any_address() -> &'static str {
    match std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => "[::]",
        Err(_) => "0.0.0.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_hears_it_without_rules() {
        let heart = Heart::new().unwrap();
        assert!(!heart.beat() && !heart.beat());
        assert!(["[::]", "0.0.0.0"].contains(&any_address()));
    }
}
