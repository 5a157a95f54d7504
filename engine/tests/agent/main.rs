//! The agent against real processes, crashes and full disks. This binary is also the agent that is killed, the
//! watchdog and the stressor.

mod claims;
mod crash;
mod helper;
mod life;
mod log;
mod mock;
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use murphy_engine::watchdog;
use nodeops::stress;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some(stress::VERB) => return stress::child_main(&args[2..]),
        Some(watchdog::VERB) => return watchdog::main(&args[2..], &support::injectors()),
        Some(helper::VERB) => return helper::main(&args[2..]),
        _ => {}
    }
    let all = [life::TESTS, claims::TESTS, log::TESTS, crash::TESTS].concat();
    let trials = all.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
