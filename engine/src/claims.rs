//! One owner a target: what an agent has under faults no other agent takes.
//!
//! A claim is an abstract unix socket (unix(7)) whose name is the claim's key: only one can be bound, across users,
//! it is gone the moment its process is, and who holds it can be asked of the kernel (SO_PEERCRED).
//!
//! A process that is just being started has, between fork and exec, all descriptors of its parent: a claim given back
//! in that moment is still bound for an instant, and so is one of an agent that has just died. Claims that nobody can
//! be seen to hold are therefore tried again for a while before they are refused.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long a claim that no living agent holds is tried.
const LEFTOVER: Duration = Duration::from_secs(5);
/// How long one that another agent holds is tried: that agent may just be giving it back.
const FOREIGN: Duration = Duration::from_millis(150);

/// The claims of one agent. Several faults may share one.
#[derive(Debug)]
pub(crate) struct Claims {
    space: String,
    held: tokio::sync::Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    faults: usize,
    socket: JoinHandle<()>,
}

/// Why a claim was not had.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Another agent has it: who, as far as can be told.
    Owned(String),
    /// It cannot be made at all.
    Socket(io::Error),
}

impl Claims {
    pub(crate) fn new(space: &str) -> Claims {
        Claims { space: space.to_owned(), held: tokio::sync::Mutex::default() }
    }

    /// Takes all of them or none.
    pub(crate) async fn take(&self, keys: &[String]) -> Result<(), ClaimError> {
        let mut held = self.held.lock().await;
        for (n, key) in keys.iter().enumerate() {
            if let Some(held) = held.get_mut(key) {
                held.faults += 1;
                continue;
            }
            match bind(&self.name(key)).await {
                Ok(socket) => {
                    held.insert(key.clone(), Held { faults: 1, socket });
                }
                Err(e) => {
                    self.give_back(&mut held, &keys[..n]).await;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Gives back what one fault had.
    pub(crate) async fn release(&self, keys: &[String]) {
        let mut held = self.held.lock().await;
        self.give_back(&mut held, keys).await;
    }

    async fn give_back(&self, held: &mut BTreeMap<String, Held>, keys: &[String]) {
        for key in keys {
            let Some(entry) = held.get_mut(key) else { continue };
            entry.faults -= 1;
            if entry.faults == 0
                && let Some(Held { socket, .. }) = held.remove(key)
            {
                ours().remove(&self.name(key));
                socket.abort();
                // Only when the task is gone its socket is closed.
                let _ = socket.await;
            }
        }
    }

    /// The socket's name: readable when it fits in the 107 bytes there are.
    fn name(&self, key: &str) -> String {
        let name = format!("{}/claim/{key}", self.space);
        if name.len() <= 100 {
            return name;
        }
        let hash = Sha256::digest(name.as_bytes());
        format!("murphy/claim/{}", hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

/// Names held in this process, by whichever agent: two agents may live in one process, and the kernel cannot tell them
/// apart.
fn ours() -> MutexGuard<'static, HashSet<String>> {
    static OURS: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();
    OURS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

async fn bind(name: &str) -> Result<JoinHandle<()>, ClaimError> {
    let address = SocketAddr::from_abstract_name(name).map_err(ClaimError::Socket)?;
    let began = Instant::now();
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(listener) => {
                let socket = listen(listener).map_err(ClaimError::Socket)?;
                ours().insert(name.to_owned());
                return Ok(socket);
            }
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => return Err(ClaimError::Socket(e)),
            Err(_) => {}
        }
        let (who, most) = match holder(&address).await {
            Some((pid, _)) if pid == std::process::id() => {
                if ours().contains(name) {
                    return Err(ClaimError::Owned("another agent in this process".into()));
                }
                ("a process that is just being started".to_owned(), LEFTOVER)
            }
            Some((pid, uid)) => match host::process::describe(pid) {
                Ok(p) if p.id.alive() => {
                    (format!("process {pid} ({}, user {})", p.comm, host::privilege::user_name(uid)), FOREIGN)
                }
                _ => (format!("process {pid}, which has just ended"), LEFTOVER),
            },
            // Given back between the two looks, or not to be asked.
            None => ("another agent".to_owned(), LEFTOVER),
        };
        if began.elapsed() >= most {
            return Err(ClaimError::Owned(who));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Holds the socket. Whoever asks is let in and out again, so that the queue of those asking never fills.
fn listen(listener: UnixListener) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(tokio::spawn(async move {
        loop {
            if listener.accept().await.is_err() {
                // Out of descriptors, say: the claim holds all the same.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }))
}

/// The process that bound the socket, and its user.
async fn holder(address: &SocketAddr) -> Option<(u32, u32)> {
    let address = address.clone();
    let ask = tokio::task::spawn_blocking(move || {
        let stream = UnixStream::connect_addr(&address).ok()?;
        let cred = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        Some((cred.pid.as_raw_nonzero().get() as u32, cred.uid.as_raw()))
    });
    tokio::time::timeout(Duration::from_secs(1), ask).await.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn space() -> String {
        format!("murphy-test-{}-{:x}", std::process::id(), crate::ids::random_seed())
    }

    #[tokio::test]
    async fn one_agent_at_a_time_and_several_faults_of_it() {
        let space = space();
        let (one, two) = (Claims::new(&space), Claims::new(&space));
        let keys = ["process 1@2".to_owned(), "x".repeat(200)];
        one.take(&keys).await.unwrap();
        one.take(&keys[..1]).await.unwrap();
        assert!(matches!(two.take(&keys).await, Err(ClaimError::Owned(who)) if who.contains("this process")));
        one.release(&keys).await;
        assert!(two.take(&keys[..1]).await.is_err(), "a second fault still holds it");
        two.take(&keys[1..]).await.unwrap();
        one.release(&keys[..1]).await;
        two.take(&keys[..1]).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_claim_given_back_is_free_at_once_while_children_are_started() {
        let stop = Arc::new(AtomicBool::new(false));
        let spawning = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = std::process::Command::new("true").status();
                }
            })
        };
        let space = space();
        let keys = ["process 1@2".to_owned()];
        for round in 0..300 {
            let claims = Claims::new(&space);
            claims.take(&keys).await.unwrap_or_else(|e| panic!("round {round}: {e:?}"));
            claims.release(&keys).await;
        }
        stop.store(true, Ordering::Relaxed);
        spawning.join().unwrap();
    }
}
