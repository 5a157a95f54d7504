//! Children whose agent is dead. The kernel kills them with it; one in a frozen group of version 1 dies only when that is
//! thawed, or when it is taken out of there.

use crate::record::Act;
use crate::stress::VERB;
use host::process::{self, is_murphy};
use inject::{Leftover, UndoRecord};

/// All of them.
pub(super) fn all() -> Vec<Leftover> {
    let orphan = |pid: u32| process::stat(pid).is_ok_and(|stat| !is_murphy(stat.ppid));
    let children = process::list().into_iter().filter(|p| is_murphy(p.id.pid));
    let children = children.filter(|p| p.command.split(' ').nth(1) == Some(VERB) && orphan(p.id.pid));
    children
        .map(|child| Leftover {
            record: UndoRecord {
                injector: "node".into(),
                act: format!("the child process {} of an agent that is dead", child.id.pid),
                undo: format!("kill -9 {}; in a frozen group it dies when that is thawed", child.id.pid),
                data: Act::new("", Some(child.id), &child.comm).json(),
                ends_with_agent: true,
            },
            owner: None,
        })
        .collect()
}
