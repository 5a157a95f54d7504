//! What goes into packages beside the program: completions for shells, and pages of the manual.

use crate::cli::Cli;
use crate::failure::{Failure, Outcome};
use crate::verbs::print;
use clap::CommandFactory;
use std::path::Path;

/// `murphy completions`.
pub fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "murphy", &mut out);
    print(&String::from_utf8_lossy(&out))
}

/// `murphy man`: the page of the program itself, or all pages into a directory.
pub fn man(dir: Option<&Path>) -> Outcome {
    if let Some(dir) = dir {
        let written =
            std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
        return written.map(|()| 0).map_err(|e| {
            Failure::cannot(
                format!("cannot write the pages of the manual into {}: {e}", dir.display()),
                "name a directory that you may write into",
            )
        });
    }
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out).map_err(|e| {
        Failure::cannot(format!("cannot make the manual page: {e}"), "this should not happen")
    })?;
    print(&String::from_utf8_lossy(&out))
}
