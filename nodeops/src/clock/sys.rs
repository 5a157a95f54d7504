//! The few things that only unsafe code can do: our own stub as bytes, ptrace with any signal, the system's clock.
#![allow(unsafe_code)]

use nix::unistd::Pid;
use std::io;

/// The stub's code, and where its parts begin.
#[cfg(target_arch = "x86_64")]
pub(super) struct StubParts {
    pub bytes: Vec<u8>,
    pub gettime: usize,
    pub timeofday: usize,
    pub time: usize,
    pub call: usize,
    pub counter: usize,
    pub params: usize,
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static murphy_clock_start: u8;
    static murphy_clock_gettime: u8;
    static murphy_clock_timeofday: u8;
    static murphy_clock_time: u8;
    static murphy_clock_call: u8;
    static murphy_clock_counter: u8;
    static murphy_clock_params: u8;
    static murphy_clock_end: u8;
}

/// A copy of the stub that is assembled into this program.
#[cfg(target_arch = "x86_64")]
pub(super) fn stub() -> StubParts {
    let start = &raw const murphy_clock_start;
    let from_start = |at: *const u8| at as usize - start as usize;
    let end = &raw const murphy_clock_end;
    // SAFETY: start and end are labels around one read-only block of this program's own section, in that order, so
    // everything between them is initialised and lives as long as the program.
    let bytes = unsafe { std::slice::from_raw_parts(start, from_start(end)) }.to_vec();
    StubParts {
        bytes,
        gettime: from_start(&raw const murphy_clock_gettime),
        timeofday: from_start(&raw const murphy_clock_timeofday),
        time: from_start(&raw const murphy_clock_time),
        call: from_start(&raw const murphy_clock_call),
        counter: from_start(&raw const murphy_clock_counter),
        params: from_start(&raw const murphy_clock_params),
    }
}

/// Lets a stopped thread go, with the signal that it was about to get (0: none). Real-time signals are signals too, which
/// the safe wrapper has no names for.
pub(super) fn detach(thread: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_DETACH reads no memory of ours: address and data are plain numbers.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_DETACH, thread.as_raw(), std::ptr::null_mut::<libc::c_void>(), signal as usize)
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a stopped thread go on under our eyes, with a signal (0: none).
pub(super) fn go_on(thread: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_CONT reads no memory of ours: address and data are plain numbers.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_CONT, thread.as_raw(), std::ptr::null_mut::<libc::c_void>(), signal as usize)
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
