//! What undo records of this room hold: a namespace of a certain boot, and what was done in it.

use super::native::Device;
use host::netlink::route::Saved;
use host::{Netns, NetnsId};
use inject::{Recovered, UndoRecord};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Act {
    /// The fault's id.
    pub fault: String,
    /// The namespace.
    pub ns: NetnsId,
    /// Where it was found.
    pub path: PathBuf,
    /// The boot in which that means anything.
    pub boot: String,
    /// What was done.
    pub done: Done,
}

/// What was done, and is to be undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Done {
    /// Chains in tables of that name, which end with their owner.
    Table(String),
    /// The same, with IFBs and filters, which do not.
    Native {
        /// The tables.
        table: String,
        /// The IFBs.
        devices: Vec<Device>,
    },
    /// Queries for names led elsewhere: connection tracking remembers to where.
    Names(String),
    /// Ports, taken by sockets of the agent.
    Ports,
    /// Tracked connections, forgotten for good.
    Forgotten,
    /// A table that no socket owns, though ours all have an owner; found, never made.
    Ownerless(String),
    /// Interfaces switched off.
    Down(Vec<Downed>),
}

/// An interface that was switched off, and what it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Downed {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it loses.
    pub saved: Saved,
}

impl Act {
    pub(crate) fn new(fault: &str, ns: &Netns, done: Done) -> Act {
        Act {
            fault: fault.to_owned(),
            ns: ns.id(),
            path: ns.path().to_owned(),
            boot: host::clock::boot_id().to_owned(),
            done,
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn read(record: &UndoRecord) -> Option<Act> {
        serde_json::from_value(record.data.clone()).ok()
    }

    /// The act with its namespace; or the outcome, when there is nothing any more.
    pub(crate) fn find(record: &UndoRecord) -> Result<(Act, Netns), Recovered> {
        let act = Act::read(record).ok_or_else(|| {
            Recovered::Failed(format!(
                "the record of {:?} does not read: {}; look at the network by hand: `nft list tables`, `tc qdisc`, `ip link`",
                record.act, record.data
            ))
        })?;
        if act.boot != host::clock::boot_id() {
            return Err(Recovered::Gone("the machine was started anew since".into()));
        }
        match Netns::find(act.ns, &act.path) {
            Some(ns) => Ok((act, ns)),
            None => Err(Recovered::Gone(format!("the network namespace {} is gone", act.ns))),
        }
    }
}
