//! TCP connections of a network namespace, listed and ended from outside: sock_diag(7). Ended means that the program which
//! has it sees ECONNABORTED, and the other side a reset. Linux 4.5 with CONFIG_INET_DIAG_DESTROY.

use super::socket::{NetlinkError, Protocol, Socket};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;
const ESTABLISHED: u32 = 1 << 1;
/// The length of what identifies a socket: ports, addresses, interface, cookie.
const IDENTITY: usize = 48;

/// An established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its end here.
    pub local: SocketAddr,
    /// The other one.
    pub remote: SocketAddr,
    family: u8,
    identity: Vec<u8>,
}

/// A socket that asks about sockets.
#[derive(Debug)]
pub struct Sockets {
    socket: Socket,
}

impl Sockets {
    /// Opens one in the namespace of this thread.
    pub fn open() -> Result<Sockets, NetlinkError> {
        Ok(Sockets { socket: Socket::open(Protocol::Sockets)? })
    }

    /// All established connections, over IPv4 and IPv6.
    pub fn established(&mut self) -> Result<Vec<Connection>, NetlinkError> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let ask = request(family as u8, ESTABLISHED, &[0; IDENTITY]);
            all.extend(self.socket.list(BY_FAMILY, &ask, |message| parse(message.body))?);
        }
        Ok(all)
    }

    /// Ends one; whether it was still there.
    pub fn end(&mut self, connection: &Connection) -> Result<bool, NetlinkError> {
        let ask = request(connection.family, u32::MAX, &connection.identity);
        match self.socket.request(DESTROY, 0, &ask) {
            Ok(()) => Ok(true),
            Err(e) if e.is(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, states: u32, identity: &[u8]) -> Vec<u8> {
    let mut body = vec![family, TCP, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend(identity);
    body
}

/// `struct inet_diag_msg`.
fn parse(body: &[u8]) -> Option<Connection> {
    let family = *body.first()?;
    let identity = body.get(4..4 + IDENTITY)?;
    let port = |at: usize| Some(u16::from_be_bytes(identity.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| -> Option<IpAddr> {
        if family == libc::AF_INET as u8 {
            let four: [u8; 4] = identity.get(at..at + 4)?.try_into().ok()?;
            return Some(four.into());
        }
        let six: [u8; 16] = identity.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(six).to_canonical())
    };
    Some(Connection {
        local: SocketAddr::new(address(4)?, port(0)?),
        remote: SocketAddr::new(address(20)?, port(2)?),
        family,
        identity: identity.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_are_found_and_ended_from_outside() {
        let Ok(done) = crate::netns::in_a_new_one(|| {
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            if !up.is_ok_and(|s| s.success()) {
                return;
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut service, from) = listener.accept().unwrap();
            let mut sockets = Sockets::open().unwrap();
            let all = sockets.established().unwrap();
            assert_eq!(all.len(), 2, "{all:?}");
            let its = all.iter().find(|c| c.remote == from).unwrap();
            assert_eq!(its.local, listener.local_addr().unwrap());
            match sockets.end(its) {
                Ok(true) => {}
                // A kernel without it.
                Err(e) if e.is(libc::EOPNOTSUPP) => return,
                other => panic!("{other:?}"),
            }
            assert!(service.write_all(b"x").is_err());
            assert!(client.read(&mut [0]).is_err());
            assert!(!sockets.end(its).unwrap());
            assert_eq!(sockets.established().unwrap(), []);
        }) else {
            return; // not root
        };
        done
    }
}
