//! Ports that are taken: sockets of this process in the target's namespace.

use super::prepare::Occupy;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// How many connections the kernel completes for a socket that nobody accepts from.
const WAITING: i32 = 4096;

/// Ports, held.
#[derive(Debug)]
pub(crate) struct Occupied {
    sockets: Vec<OwnedFd>,
}

impl Occupied {
    /// Takes them all, or none, in the namespace of this thread.
    pub(crate) fn take(wanted: &Occupy) -> Result<Occupied, String> {
        let mut sockets = Vec::new();
        let any: &[IpAddr] = &[Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let given = wanted.address.map(|a| [a]);
        let addresses = given.as_ref().map_or(any, |a| a);
        for port in &wanted.ports {
            for (tcp, word) in [(wanted.tcp.then_some(true), "TCP"), (wanted.udp.then_some(false), "UDP")] {
                let Some(tcp) = tcp else { continue };
                for address in addresses {
                    match take(SocketAddr::new(*address, *port), tcp, wanted.hang) {
                        Ok(socket) => sockets.push(socket),
                        // A kernel without IPv6 has no such port to take.
                        Err(e) if e.raw_os_error() == Some(97) && wanted.address.is_none() => {}
                        Err(e) => return Err(why(word, *port, &e)),
                    }
                }
            }
        }
        Ok(Occupied { sockets })
    }

    /// How many sockets hold them.
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }
}

fn why(word: &str, port: u16, e: &io::Error) -> String {
    let more = match e.kind() {
        io::ErrorKind::AddrInUse => {
            "it is in use already: stop who has it (`ss -lntup` shows who), the fault is for who comes after"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "the target has no such address",
        _ => "look at the target's network",
    };
    format!("{word} port {port} cannot be taken: {e}; {more}")
}

fn take(at: SocketAddr, tcp: bool, hang: bool) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let protocol: Option<Protocol> = Some(if tcp { ipproto::TCP } else { ipproto::UDP });
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    if at.is_ipv6() {
        // Each family by itself, so that both are seen to be free.
        rustix::net::sockopt::set_ipv6_v6only(&fd, true)?;
    }
    bind(&fd, &at)?;
    if tcp && hang {
        listen(&fd, WAITING)?;
    }
    Ok(fd)
}
