//! Datagrams: a client is what sends from one address, until it has been silent for a while.
//!
//! One task receives for all clients of a port and hands each datagram to its client's task, which has a socket of its
//! own towards the service, so that answers find their way back. A datagram that would have to wait for a full queue or
//! socket is lost, as anywhere on its way.

use crate::buffers::Appetite;
use crate::chain::{Chain, Chunk, Dir, How, Item, Pull, earlier};
use crate::conn::{Open, Phase};
use crate::exchange::Exchange;
use crate::listen::Place;
use crate::net::Address;
use crate::news::News;
use crate::target::Target;
use crate::timers::{Alarm, Timers};
use bytes::Bytes;
use socket2::SockRef;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// As large as a datagram can be.
const LARGEST: usize = 64 * 1024;
/// Datagrams of one client that wait for its task.
const QUEUE: usize = 256;
/// How many are passed on before others have their turn.
const AT_ONCE: usize = 64;
/// How long a client may be silent, unless the target says otherwise.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

type Clients = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Bytes>>>>;

/// Opens a socket for each port of the place.
pub(crate) async fn bind(place: &Place) -> io::Result<Vec<UdpSocket>> {
    let Place::Tcp { host, first, last } = place else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut all = Vec::new();
    for port in *first..=*last {
        all.push(UdpSocket::bind((host.as_str(), port)).await?);
    }
    Ok(all)
}

/// Receives for all clients of one port.
pub(crate) async fn serve(socket: Arc<UdpSocket>, port: usize, target: Arc<Target>) {
    let clients = Clients::default();
    loop {
        // An answer of ours that nobody took comes back as an error here; it concerns that client alone.
        let Ok((bytes, client)) = receive(&socket).await else { continue };
        let mut known = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = known.get(&client).filter(|queue| !queue.is_closed()).cloned();
        let queue = queue.unwrap_or_else(|| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let chosen = target.choose(port, Some(client));
            let open = target.welcome(Some(client), chosen);
            let leave = Leave { clients: clients.clone(), client, queue: queue.downgrade() };
            tokio::spawn(attend_to(open, target.clone(), waiting, socket.clone(), leave));
            known.insert(client, queue.clone());
            queue
        });
        drop(known);
        // When the queue is full the datagram is lost.
        let _ = queue.try_send(bytes);
    }
}

async fn receive(socket: &UdpSocket) -> io::Result<(Bytes, SocketAddr)> {
    socket.readable().await?;
    let mut buffer = Appetite::of(LARGEST).take();
    let (n, from) = match socket.try_recv_from(buffer.space()) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            drop(buffer);
            return Err(e);
        }
        other => other?,
    };
    buffer.filled(n);
    Ok((buffer.keep(), from))
}

/// Takes a client out of the list when its task ends.
struct Leave {
    clients: Clients,
    client: SocketAddr,
    queue: mpsc::WeakSender<Bytes>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = self.queue.upgrade();
        if clients.get(&self.client).is_some_and(|queue| mine.as_ref().is_some_and(|m| m.same_channel(queue)))
        {
            clients.remove(&self.client);
        }
    }
}

async fn attend_to(
    open: Open,
    target: Arc<Target>,
    waiting: mpsc::Receiver<Bytes>,
    listener: Arc<UdpSocket>,
    _leave: Leave,
) {
    let dialled = match open.chosen() {
        Some(member) => dial(&member.address).await,
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let failed = match dialled {
        Err(_) => true,
        Ok(service) => {
            open.enter(Phase::Open);
            let timers = target.timers();
            let mut session = Session {
                conn: &open,
                service,
                listener,
                waiting,
                up: Side::new(Dir::Up, timers),
                down: Side::new(Dir::Down, timers),
                news: News::default(),
                hold: Alarm::new(timers.clone()),
                idle: target.idle(),
                silence: Alarm::new(timers.clone()),
                silent_until: None,
                last: Instant::now(),
                exchange: Exchange::default(),
            };
            poll_fn(|cx| session.poll(cx)).await;
            false
        }
    };
    target.ended_with(&open, failed);
}

async fn dial(address: &Address) -> io::Result<UdpSocket> {
    let Address::Tcp { host, port } = address else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// One client.
struct Session<'a> {
    conn: &'a Open,
    service: UdpSocket,
    listener: Arc<UdpSocket>,
    waiting: mpsc::Receiver<Bytes>,
    up: Side,
    down: Side,
    news: News,
    hold: Alarm,
    idle: Duration,
    silence: Alarm,
    /// What the alarm is set for.
    silent_until: Option<Instant>,
    last: Instant,
    exchange: Exchange,
}

struct Side {
    chain: Chain,
    alarm: Alarm,
}

impl Side {
    fn new(dir: Dir, timers: &Timers) -> Side {
        Side { chain: Chain::new(dir), alarm: Alarm::new(timers.clone()) }
    }

    /// Ready when it must be looked at again; otherwise the task is woken when something is due.
    fn sleep(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        match until {
            Some(at) => self.alarm.poll(at, cx),
            None => {
                self.alarm.clear();
                Poll::Pending
            }
        }
    }
}

impl Session<'_> {
    /// Ready when the client is gone, or something ended it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.register_reader(cx.waker());
        loop {
            if self.conn.killed().is_some()
                || self.news.sync(self.conn, &mut self.up.chain, &mut self.down.chain).is_some()
            {
                return Poll::Ready(());
            }
            if let Some(until) = self.news.held {
                ready!(self.hold.poll(until, cx));
                self.news.held = None;
                self.conn.release();
                continue;
            }
            let mut busy = false;
            for dir in [Dir::Up, Dir::Down] {
                match self.pump(dir, cx) {
                    Pumped::Kill(how) => {
                        self.conn.kill(how);
                        return Poll::Ready(());
                    }
                    Pumped::More => busy = true,
                    Pumped::Wait(until) => {
                        let side = if dir == Dir::Up { &mut self.up } else { &mut self.down };
                        busy |= side.sleep(until, cx).is_ready();
                    }
                }
            }
            if busy {
                // Others have their turn; this one comes back by itself.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Looked at only when the time has come, so that a datagram does not have to move the alarm.
            let now = Instant::now();
            let until = *self.silent_until.get_or_insert(now.checked_add(self.idle).unwrap_or(now));
            ready!(self.silence.poll(until, cx));
            match self.last.checked_add(self.idle) {
                Some(end) if end <= now => return Poll::Ready(()),
                end => self.silent_until = end,
            }
        }
    }

    /// Passes on what has come and what is due.
    fn pump(&mut self, dir: Dir, cx: &mut Context<'_>) -> Pumped {
        for _ in 0..AT_ONCE {
            let side = if dir == Dir::Up { &mut self.up } else { &mut self.down };
            let wait = side.chain.watch();
            let mut due = None;
            if !side.chain.is_bypassed() {
                match side.chain.pull(Instant::now()) {
                    Pull::Item(Item::Data(chunk)) => {
                        self.send(dir, &chunk.bytes, Some(chunk.arrived));
                        continue;
                    }
                    Pull::Item(Item::End(_)) => continue,
                    Pull::Kill(how) => return Pumped::Kill(how),
                    Pull::Wait(at) => due = at,
                }
            }
            let Poll::Ready(bytes) = self.receive(dir, cx) else { return Pumped::Wait(earlier(wait, due)) };
            let now = Instant::now();
            self.last = now;
            let side = if dir == Dir::Up { &mut self.up } else { &mut self.down };
            if side.chain.is_bypassed() {
                self.send(dir, &bytes, None);
            } else if side.chain.room() {
                side.chain.push(Item::Data(Chunk { bytes, arrived: now }), now);
            }
        }
        Pumped::More
    }

    fn receive(&mut self, dir: Dir, cx: &mut Context<'_>) -> Poll<Bytes> {
        if dir == Dir::Up {
            // The sender lives in the list, which this task outlives only when the port is closed.
            let Some(bytes) = ready!(self.waiting.poll_recv(cx)) else {
                self.conn.kill(How::Fin);
                return Poll::Pending;
            };
            self.conn.bytes_up.fetch_add(bytes.len() as u64, Relaxed);
            self.conn.metrics.bytes_up(bytes.len());
            self.exchange.asked();
            return Poll::Ready(bytes);
        }
        loop {
            if ready!(self.service.poll_recv_ready(cx)).is_err() {
                return Poll::Pending;
            }
            let mut buffer = Appetite::of(LARGEST).take();
            let mut space = ReadBuf::new(buffer.space());
            match self.service.poll_recv(cx, &mut space) {
                Poll::Pending => return Poll::Pending,
                // The service does not listen (yet): its machine says so, and the client is not told, as without us.
                Poll::Ready(Err(_)) => continue,
                Poll::Ready(Ok(())) => {
                    let n = space.filled().len();
                    buffer.filled(n);
                    return Poll::Ready(buffer.keep());
                }
            }
        }
    }

    /// A socket without room loses it. Sent directly: the runtime would let a socket wait that has never been polled, and
    /// remember only one of those who wait for the one that all clients share.
    fn send(&mut self, dir: Dir, bytes: &Bytes, arrived: Option<Instant>) {
        match (dir, self.conn.birth.client) {
            (Dir::Up, _) => {
                self.exchange.left_up(arrived);
                let _ = SockRef::from(&self.service).send(bytes);
            }
            (Dir::Down, Some(client)) => {
                self.exchange.left_down(arrived, &self.conn.metrics);
                if SockRef::from(&*self.listener).send_to(bytes, &client.into()).is_ok() {
                    self.conn.bytes_down.fetch_add(bytes.len() as u64, Relaxed);
                    self.conn.metrics.bytes_down(bytes.len());
                }
            }
            (Dir::Down, None) => {}
        }
    }
}

enum Pumped {
    Wait(Option<Instant>),
    /// There may be more at once.
    More,
    Kill(How),
}
