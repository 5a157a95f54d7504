//! Ephemeral ports, held by sockets that are bound and do nothing.

use super::descriptors::raise;
use crate::stress::holder::Holder;
use crate::stress::{Job, Ports};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How many are tried before the clock is looked at again.
const BITE: usize = 1000;
/// How often ports that others had are tried again: those in TIME_WAIT become free.
const AGAIN: Duration = Duration::from_secs(5);

/// Ports that are held.
pub(crate) struct Harbour {
    job: Ports,
    range: (u16, u16),
    /// The next one to try.
    next: u16,
    held: Vec<OwnedFd>,
    most: u64,
    /// Ports that others have, as of the last round through all.
    others: u64,
    round_others: u64,
    looked: Instant,
    errno: i32,
}

/// The ephemeral ports of this namespace: ip(7), `ip_local_port_range`.
pub(crate) fn range() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Harbour {
    pub(crate) fn new(job: &Job) -> Result<Harbour, String> {
        let Job::Ports(job) = job else { return Err("nothing that is held here".into()) };
        let range = range().ok_or("ip_local_port_range cannot be read")?;
        Ok(Harbour {
            job: job.clone(),
            range,
            next: range.0,
            held: Vec::new(),
            most: raise(),
            others: 0,
            round_others: 0,
            looked: Instant::now(),
            errno: 0,
        })
    }

    fn all(&self) -> u64 {
        u64::from(self.range.1 - self.range.0) + 1
    }

    fn take(&self, port: u16) -> rustix::io::Result<OwnedFd> {
        let kind = if self.job.udp { SocketType::DGRAM } else { SocketType::STREAM };
        let any = |family, address: SocketAddr| {
            let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
            bind(&socket, &address)?;
            Ok(socket)
        };
        // Of both families, where there are both: port 0 of one would find what is free in the other.
        match any(AddressFamily::INET6, (Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL) => {
                any(AddressFamily::INET, (Ipv4Addr::UNSPECIFIED, port).into())
            }
            other => other,
        }
    }
}

impl Holder for Harbour {
    fn step(&mut self, _elapsed: Duration) -> Duration {
        let goal = self.all().saturating_sub(self.job.leave + self.others).min(self.most);
        if goal < self.held.len() as u64 {
            self.held.truncate(goal as usize);
            return Duration::from_millis(200);
        }
        for _ in 0..BITE {
            if self.held.len() as u64 >= goal {
                if self.others > 0 && self.looked.elapsed() > AGAIN {
                    self.others = 0;
                    self.looked = Instant::now();
                }
                return Duration::from_millis(250);
            }
            let port = self.next;
            let last = port == self.range.1;
            self.next = if last { self.range.0 } else { port + 1 };
            match self.take(port) {
                Ok(socket) => self.held.push(socket),
                Err(rustix::io::Errno::ADDRINUSE) => self.round_others += 1,
                Err(e) => {
                    self.errno = e.raw_os_error();
                    return Duration::from_millis(500);
                }
            }
            if last {
                // Those in use that are not ours.
                self.others = self.round_others.saturating_sub(self.held.len() as u64).min(self.all());
                self.round_others = 0;
                return Duration::from_millis(100);
            }
        }
        Duration::ZERO
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Ports(job) = job else { return Err("this child holds ports".into()) };
        if job.udp != self.job.udp {
            return Err("protocol cannot be changed while it is on".into());
        }
        self.job = job;
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("held".to_owned(), self.held.len() as f64),
            ("ephemeral_ports".to_owned(), self.all() as f64),
            // What a program gets that asks for any port.
            ("refused".to_owned(), f64::from(u8::from(self.take(0).is_err()))),
            ("errno".to_owned(), f64::from(self.errno)),
        ])
    }
}
