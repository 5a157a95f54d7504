//! The few things that only unsafe code can do: ptrace with any signal, the system's clock.
#![allow(unsafe_code)]

use nix::unistd::Pid;
use std::io;

/// Lets a stopped thread go, with the signal that it was about to get (0: none). Real-time signals are signals too, which
/// the safe wrapper has no names for.
pub(super) fn detach(thread: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_DETACH reads no memory of ours: address and data are plain numbers.
    let done = unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            thread.as_raw(),
            std::ptr::null_mut::<libc::c_void>(),
            signal as usize,
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel's clock is told, and what it says of itself (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Adjustment {
    /// Which of the others are set, as `ADJ_*`.
    pub modes: u32,
    /// Nanoseconds to step by, with `ADJ_SETOFFSET | ADJ_NANO`.
    pub step: i64,
    /// Microseconds a tick, of which there are USER_HZ a second.
    pub tick: i64,
    /// Parts per million times 65536.
    pub frequency: i64,
}

/// Changes the kernel's wall clock, or with no modes only reads its tick and frequency.
pub(super) fn adjust_system_clock(change: Adjustment) -> io::Result<Adjustment> {
    // SAFETY: timex is plain numbers, for which all bits zero is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    timex.modes = change.modes;
    timex.tick = change.tick as _;
    timex.freq = change.frequency as _;
    // The part behind the second must not be negative.
    timex.time.tv_sec = change.step.div_euclid(1_000_000_000) as _;
    timex.time.tv_usec = change.step.rem_euclid(1_000_000_000) as _;
    // SAFETY: the kernel reads and writes one timex, which lives across the call.
    let done = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut timex) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(Adjustment { tick: timex.tick as i64, frequency: timex.freq as i64, ..change })
}
