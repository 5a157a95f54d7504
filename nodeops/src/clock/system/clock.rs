//! A clock that can be set: read beside one that nobody sets, stepped, and its pace changed.

use crate::clock::sys::{self, Adjustment};
use rustix::time::{ClockId, clock_gettime};
use std::io;

/// What the kernel's ticks can be: 10 % either way (adjtimex(2)), in microseconds at 100 a second.
pub(super) const TICK: (i64, i64) = (9_000, 11_000);

/// What the frequency can be: 500 parts per million either way, times 65536.
pub(super) const FREQUENCY: i64 = 500 << 16;

/// A clock that can be set. The kernel's, or in tests one that is nobody's.
pub(super) trait Clock: Send + Sync {
    /// The wall clock, and a clock that nobody sets, both in nanoseconds, at one moment.
    fn read(&self) -> (i64, i64);
    /// Tick and frequency.
    fn pace(&self) -> io::Result<(i64, i64)>;
    /// Sets tick and frequency.
    fn set_pace(&self, tick: i64, frequency: i64) -> io::Result<()>;
    /// Steps the wall clock.
    fn step(&self, nanos: i64) -> io::Result<()>;
}

/// The clock of this machine.
pub(super) struct Kernel;

impl Clock for Kernel {
    fn read(&self) -> (i64, i64) {
        let nanos = |id| {
            let t = clock_gettime(id);
            t.tv_sec * 1_000_000_000 + t.tv_nsec
        };
        // The pair with the least time between its two halves.
        let pair = |_| {
            let before = nanos(ClockId::MonotonicRaw);
            let real = nanos(ClockId::Realtime);
            let after = nanos(ClockId::MonotonicRaw);
            (after - before, real, before + (after - before) / 2)
        };
        let (_, real, raw) = (0..5).map(pair).min().unwrap_or_default();
        let suspended = nanos(ClockId::Boottime) - nanos(ClockId::Monotonic);
        // To a millisecond: between the two readings a moment has passed.
        (real, raw + suspended / 1_000_000 * 1_000_000)
    }

    fn pace(&self) -> io::Result<(i64, i64)> {
        let now = sys::adjust_system_clock(Adjustment::default())?;
        Ok((now.tick, now.frequency))
    }

    fn set_pace(&self, tick: i64, frequency: i64) -> io::Result<()> {
        let modes = libc::ADJ_TICK | libc::ADJ_FREQUENCY;
        sys::adjust_system_clock(Adjustment { modes, tick, frequency, step: 0 }).map(drop)
    }

    fn step(&self, step: i64) -> io::Result<()> {
        let modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
        sys::adjust_system_clock(Adjustment { modes, step, ..Adjustment::default() }).map(drop)
    }
}
