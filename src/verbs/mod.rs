//! One file per verb.

mod adjust;
mod agent;
mod arm;
mod attach;
mod ca;
mod check;
mod connections;
mod demo;
mod disarm;
mod doctor;
mod exec;
mod faults;
mod halt;
mod health;
mod kube;
mod list;
mod mount;
mod packaged;
mod recover;
mod requests;
mod run;
mod sidecar;
mod targets;
mod toxiproxy;
mod tui;
mod watch;

use crate::cli::{Cli, Verb};
use crate::failure::{self, FAILED, Outcome, WRONG};
use crate::house;
use clap::{CommandFactory, Parser};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reads the command line and does what it says.
pub fn dispatch() -> ExitCode {
    let cli = match Cli::try_parse_from(toxiproxy::arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { WRONG } else { 0 };
            // Nothing is left to tell when the terminal is gone.
            let _ = e.print();
            if let Some(near) = near_verb(&e) {
                tell!("  = did you mean murphy {near}?");
            }
            return ExitCode::from(code);
        }
    };
    match cli.verb {
        Verb::Stress { args } => nodeops::stress::child_main(&args),
        Verb::Watchdog { args } => engine::watchdog::main(&args, &crate::injectors::all()),
        verb => failure::exit(carry_out(verb)),
    }
}

/// The verb that a mistyped one is near to; clap has its own opinion of what is near, and says it itself.
fn near_verb(e: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(typed)) = e.get(ContextKind::InvalidSubcommand) else { return None };
    if e.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let command = Cli::command();
    let verbs = command.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name);
    model::problem::did_you_mean(typed, verbs).map(str::to_owned)
}

fn carry_out(verb: Verb) -> Outcome {
    match verb {
        // Carried out above: they are processes of their own, with exit codes of their own.
        Verb::Stress { .. } | Verb::Watchdog { .. } => Ok(0),
        Verb::Check(args) => check::check(&args),
        Verb::Schema => print(&(pretty(&model::experiment::schema()) + "\n")),
        Verb::Faults(args) => faults::faults(&args),
        Verb::Ca(args) => ca::ca(args),
        Verb::Completions { shell } => packaged::completions(shell),
        Verb::Man { dir } => packaged::man(dir.as_deref()),
        Verb::Exec(args) => exec::exec(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Demo(args) => house::block_on(demo::demo(args)),
        Verb::Run(args) => house::block_on(run::run(args)),
        Verb::Agent(args) => house::block_on(agent::agent(args)),
        Verb::Mount(args) => house::block_on(mount::mount(args)),
        Verb::Toxiproxy(args) => house::block_on(toxiproxy::toxiproxy(args)),
        Verb::Tui(args) => house::block_on(tui::tui(args)),
        Verb::Arm(args) => house::block_on(arm::arm(*args)),
        Verb::Adjust(args) => house::block_on(adjust::adjust(args)),
        Verb::Disarm(args) => house::block_on(disarm::disarm(args)),
        Verb::Targets(args) => house::block_on(targets::targets(args)),
        Verb::List(args) => house::block_on(list::list(args)),
        Verb::Connections(args) => house::block_on(connections::connections(args)),
        Verb::Requests(args) => house::block_on(requests::requests(args)),
        Verb::Health(args) => house::block_on(health::health(args)),
        Verb::Halt(args) => house::block_on(halt::halt(args)),
        Verb::Attach(args) => house::block_on(attach::attach(*args)),
        Verb::Sidecar(args) => sidecar::sidecar(args),
        Verb::Recover(args) => house::block_on(recover::recover(args)),
        Verb::Watch(args) => house::block_on(watch::watch(args)),
    }
}

/// Prints; a reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(0),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(e) => {
            // Once: a run writes on, line after line, to a disk that stays full.
            static TOLD: AtomicBool = AtomicBool::new(false);
            if !TOLD.swap(true, Ordering::Relaxed) {
                tell!("error: cannot write the output: {e}");
            }
            Ok(FAILED)
        }
    }
}

/// JSON as people read it.
pub fn pretty(value: &impl serde::Serialize) -> String {
    // Our own types always have a JSON form.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
