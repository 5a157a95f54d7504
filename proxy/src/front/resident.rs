//! A thread that lives in a network namespace and opens sockets there: a socket stays in the namespace that it was opened
//! in, and the runtime's own threads never leave theirs.

use super::table::MARK;
use host::Netns;
use socket2::{Domain, SockRef};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// The thread; it ends when this is dropped.
pub(crate) struct Resident {
    ask: Sender<(Domain, oneshot::Sender<io::Result<TcpSocket>>)>,
    about: String,
    number: u64,
}

/// The numbers of all that there were.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl PartialEq for Resident {
    fn eq(&self, other: &Resident) -> bool {
        self.number == other.number
    }
}

impl Eq for Resident {}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about)
    }
}

impl Resident {
    /// Moves into that namespace.
    pub(crate) fn start(ns: &Netns) -> io::Result<Resident> {
        let (ask, asked) = channel::<(Domain, oneshot::Sender<io::Result<TcpSocket>>)>();
        let about = ns.id().to_string();
        let (ns, entered) = (ns.clone(), channel::<io::Result<()>>());
        let (tell, told) = entered;
        std::thread::Builder::new().name("murphy-front".into()).spawn(move || {
            // Its own thread: what runs in there ends when nobody asks any more.
            let entered = tell.clone();
            let lives = ns.run(move || {
                let _ = entered.send(Ok(()));
                while let Ok((domain, answer)) = asked.recv() {
                    // Whoever asked may have gone away.
                    let _ = answer.send(open(domain));
                }
            });
            if let Err(e) = lives {
                let _ = tell.send(Err(e));
            }
        })?;
        told.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))?;
        Ok(Resident { ask, about, number: NUMBERS.fetch_add(1, Relaxed) })
    }

    /// What no other one has, or had.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Connects from inside to an address as it is seen there. Rules of ours let it pass.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the namespace is not used any more");
        self.ask.send((Domain::for_address(to), answer)).map_err(|_| gone())?;
        let socket = answered.await.map_err(|_| gone())??;
        socket.connect(to).await
    }
}

fn open(domain: Domain) -> io::Result<TcpSocket> {
    let socket = if domain == Domain::IPV4 { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    SockRef::from(&socket).set_mark(MARK)?;
    Ok(socket)
}
