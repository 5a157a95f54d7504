//! `murphy`: what can go wrong, on demand.
#![forbid(unsafe_code)]

/// A line to standard error. Unlike `eprintln!` it does not panic when the terminal is gone: a hang-up must not keep
/// anything from being taken back.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod cli;
mod failure;
mod house;
mod injectors;
mod rights;
mod service;
mod shop;
mod tcp;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    verbs::dispatch()
}
