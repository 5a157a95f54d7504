//! Faults of the machine, of processes, groups, containers and single files: each through the binary, with what it does to
//! the target and what is left of it afterwards.

mod containers;
mod edits;
mod exhaust;
mod groups;
mod guest;
mod killed;
mod killed_inside;
mod left;
mod podman;
mod processes;
pub mod rig;
mod services;
mod stress;
mod survives;
