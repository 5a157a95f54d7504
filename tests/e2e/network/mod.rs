//! Faults of the network through the binary, in namespaces of their own: two hosts on a veth pair, and their loopbacks.

mod crash;
pub mod hosts;
mod left;
mod measured;
mod names;
mod paths;
mod session;
