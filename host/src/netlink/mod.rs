//! Netlink (netlink(7)), as far as faults need it: messages are built and read here byte by byte, because no crate has all
//! of nf_tables, traffic control, queues and connection tracking.
//!
//! ```text
//! attrs      attributes, built and read
//! route      links, addresses, routes; qdiscs and filters
//! nft        nf_tables: tables that die with their socket, chains, rules, counters
//! queue      packets that netfilter lets a program decide about
//! conntrack  connections that are tracked
//! sockets    connections of programs, listed and ended
//! ```

pub mod attrs;
pub mod conntrack;
pub mod nft;
pub mod queue;
pub mod route;
mod socket;
pub mod sockets;

pub use attrs::Attrs;
pub use socket::{NetlinkError, Protocol, Socket};
