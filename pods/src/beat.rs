//! The proxy's heartbeat: datagrams to a port of loopback that nobody listens on. The pod's rules see that they are of the
//! proxy's user, note that it lives, and drop them ([`crate::redirect`]). Needs no capability.

use crate::ways::BEAT;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

/// Beats for ever, and tells whether the rules are there whenever that changes. One wakeup a beat: the kernel's timer, for
/// that of the runtime wakes twice for so long a time.
pub async fn keep_beating(heart: &Heart, mut tell: impl FnMut(bool)) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let every = Timespec { tv_sec: 0, tv_nsec: EVERY.as_nanos() as i64 };
    let soon = Timespec { tv_sec: 0, tv_nsec: 1 };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: soon })?;
    let timer = watch(timer)?;
    let mut heard = None;
    loop {
        timer.readable().await?.clear_ready();
        // How often it was due does not matter; that it was read does.
        let _ = rustix::io::read(&timer, &mut [0; 8]);
        let now = heart.beat();
        if heard != Some(now) {
            heard = Some(now);
            tell(now);
        }
    }
}

/// Has the runtime watch the timer. The one unsafe call of this crate.
#[allow(unsafe_code)]
fn watch(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor stays open and the same for as long as the registration: the `AsyncFd` owns it, and nobody takes
    // it out.
    unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }.map_err(Into::into)
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
