//! Load from one small program of our own: closed-loop requests on kept connections, bulk bodies, idle connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
pub fn small(port: u16, connections: usize, lasts: Duration) -> Small {
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let all: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| one(port, &stop))).collect();
        std::thread::sleep(lasts);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().unwrap_or_default()).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let mut micros: Vec<f64> = all.into_iter().flatten().collect();
    micros.sort_by(f64::total_cmp);
    Small { requests: micros.len() as u64, seconds, micros }
}

fn one(port: u16, stop: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return times };
    let _ = stream.set_nodelay(true);
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
pub fn bulk(port: u16, bytes: u64) -> std::io::Result<(u64, f64)> {
    let mut buffer = vec![0; 256 * 1024];
    let begin = Instant::now();
    let mut have = 0;
    while have < bytes {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                n => have += n as u64,
            }
        }
    }
    Ok((have, begin.elapsed().as_secs_f64()))
}

/// Opens connections that have asked once and then stay silent.
pub fn idle(port: u16, count: usize) -> std::io::Result<Vec<TcpStream>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /small HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer)?;
        all.push(stream);
    }
    Ok(all)
}
