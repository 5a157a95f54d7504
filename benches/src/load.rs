//! Load from one small program of our own: closed-loop requests on kept connections, bulk bodies, idle connections.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where a contestant is reached, and whether TLS is spoken there.
#[derive(Debug, Clone)]
pub struct Door {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// What is trusted; none: it is spoken to plainly.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A connection, plain or not.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Door {
    /// Opens a connection.
    pub fn open(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

/// What small requests came to.
#[derive(Debug, Clone)]
pub struct Small {
    /// Answered requests.
    pub requests: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Latencies in microseconds, sorted.
    pub micros: Vec<f64>,
}

impl Small {
    /// A quantile of the latency, in microseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        self.micros
            .get(((self.micros.len().saturating_sub(1)) as f64 * q) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// Sends small requests on so many connections, one at a time on each, for a while.
pub fn small(door: &Door, connections: usize, lasts: Duration) -> Small {
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let all: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| one(door, &stop))).collect();
        std::thread::sleep(lasts);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().unwrap_or_default()).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let mut micros: Vec<f64> = all.into_iter().flatten().collect();
    micros.sort_by(f64::total_cmp);
    Small { requests: micros.len() as u64, seconds, micros }
}

fn one(door: &Door, stop: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    let Ok(mut stream) = door.open() else { return times };
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        if stream.write_all(b"GET /small HTTP/1.1\r\nhost: bench\r\n\r\n").is_err() {
            return times;
        }
        let mut have = 0;
        loop {
            match stream.read(&mut buffer[have..]) {
                Ok(n) if n > 0 => have += n,
                _ => return times,
            }
            if buffer[..have].ends_with(b"hello, this is a small answer\n") {
                break;
            }
        }
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    times
}

/// Reads a large body again and again until so many bytes have come; gives bytes and seconds.
pub fn bulk(door: &Door, bytes: u64) -> io::Result<(u64, f64)> {
    let mut buffer = vec![0; 256 * 1024];
    let begin = Instant::now();
    let mut have = 0;
    while have < bytes {
        let mut stream = door.open()?;
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        loop {
            match stream.read(&mut buffer) {
                // Some end without saying so in TLS, as most servers do.
                Ok(0) => break,
                Ok(n) => have += n as u64,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e),
            }
        }
    }
    Ok((have, begin.elapsed().as_secs_f64()))
}

/// Opens connections that have asked once and then stay silent.
pub fn idle(door: &Door, count: usize) -> io::Result<Vec<Box<dyn Stream>>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = door.open()?;
        stream.write_all(b"GET /small HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer)?;
        all.push(stream);
    }
    Ok(all)
}
