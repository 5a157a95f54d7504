//! Pooled buffers that grow with the stream: 8 KiB for those that trickle, 256 KiB for those that pour.
//!
//! A connection takes one when there is something to read and gives it back when that is written, so an idle connection
//! holds none. Each thread has its own small pool; a buffer given back on another thread than it came from just moves.

use bytes::Bytes;
use std::cell::RefCell;

/// The sizes, each twice the one before.
const SMALLEST: usize = 8 * 1024;
const CLASSES: usize = 6;
/// What each thread keeps for later, in bytes; more is freed.
const KEEP: usize = 4 * 1024 * 1024;
/// Up to this size a chunk that must be kept is copied, so that its buffer stays in the pool.
const COPY_UP_TO: usize = 16 * 1024;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { free: [const { Vec::new() }; CLASSES], kept: 0 }) };
}

struct Pool {
    free: [Vec<Vec<u8>>; CLASSES],
    kept: usize,
}

/// How large a stream's next buffer should be, learnt from how full the last ones were.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Appetite {
    class: u8,
    lean: u8,
}

impl Appetite {
    /// For streams whose reads are about so large.
    pub(crate) fn of(size: usize) -> Appetite {
        let class = (size / SMALLEST).max(1).ilog2().min(CLASSES as u32 - 1);
        Appetite { class: class as u8, lean: 0 }
    }

    /// A buffer of the size that suits now.
    pub(crate) fn take(self) -> Buffer {
        let class = usize::from(self.class);
        let data = POOL.with_borrow_mut(|pool| {
            let data = pool.free[class].pop()?;
            pool.kept -= data.len();
            Some(data)
        });
        Buffer { data: data.unwrap_or_else(|| vec![0; SMALLEST << class]), start: 0, end: 0 }
    }

    /// Learns from a read of `n` bytes into a buffer of the current size.
    pub(crate) fn learn(&mut self, n: usize) {
        let size = SMALLEST << self.class;
        if n == size {
            self.class = (self.class + 1).min(CLASSES as u8 - 1);
            self.lean = 0;
        } else if n < size / 4 {
            self.lean += 1;
            if self.lean >= 16 {
                self.class = self.class.saturating_sub(1);
                self.lean = 0;
            }
        } else {
            self.lean = 0;
        }
    }
}

/// A buffer and the part of it that holds something; goes back to the pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// All of it, to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Says that its first `n` bytes hold something.
    pub(crate) fn filled(&mut self, n: usize) {
        (self.start, self.end) = (0, n);
    }

    /// What it holds.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Forgets the first `n` of those.
    pub(crate) fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// What it holds, as bytes that can be kept.
    pub(crate) fn keep(mut self) -> Bytes {
        if self.end - self.start <= COPY_UP_TO {
            return Bytes::copy_from_slice(self.rest());
        }
        let mut data = std::mem::take(&mut self.data);
        data.truncate(self.end);
        let bytes = Bytes::from(data);
        bytes.slice(self.start..)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return;
        }
        let class = (data.len() / SMALLEST).ilog2() as usize;
        // A thread that is ending has no pool any more; the buffer is then simply freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.kept + data.len() <= KEEP {
                pool.kept += data.len();
                pool.free[class].push(data);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_when_full_and_shrinks_when_lean() {
        let mut appetite = Appetite::default();
        for want in [16, 32, 64, 128, 256, 256] {
            let size = appetite.take().space().len();
            appetite.learn(size);
            assert_eq!(appetite.take().space().len(), want * 1024);
        }
        for _ in 0..200 {
            appetite.learn(100);
        }
        assert_eq!(appetite.take().space().len(), SMALLEST);
    }

    #[test]
    fn what_is_kept_is_what_was_filled() {
        for n in [0, 1, 5000, 20_000] {
            let mut buffer = Appetite { class: 2, lean: 0 }.take();
            buffer.space().iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
            buffer.filled(n);
            buffer.advance(1);
            let want: Vec<u8> = (0..n).map(|i| i as u8).skip(1).collect();
            assert_eq!(buffer.keep(), want);
        }
    }
}
