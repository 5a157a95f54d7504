use crate::cli::Exec;
use crate::failure::{Failure, Outcome};
use nodeops::Clocks;
use std::process::Command;

/// `murphy exec`: becomes a program with other clocks. There is nothing to undo: they end with it.
pub fn exec(args: &Exec) -> Outcome {
    let mut clocks = Clocks::default();
    for text in &args.clock {
        clocks = clocks.with(text).map_err(|why| {
            Failure::usage(format!("--clock {text}: {why}"), "for example --clock monotonic=1h")
        })?;
    }
    let mut command = Command::new(&args.program[0]);
    command.args(&args.program[1..]);
    Err(Failure::Cannot(vec![nodeops::exec_with_clocks(&mut command, &clocks)]))
}
