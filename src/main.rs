//! `murphy`: what can go wrong, on demand.
#![forbid(unsafe_code)]

mod cli;
mod failure;
mod house;
mod service;
mod shop;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    verbs::dispatch()
}
