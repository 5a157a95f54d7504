//! The proxy: listeners of ours in front of services, and the faults on the connections and requests that pass.
//!
//! Layer 4 copies bytes both ways, layer 7 understands HTTP/1.1 and HTTP/2. Both send what they carry through the same
//! [`chain`] of stages, one per fault that took the connection and direction; a connection without one has an empty
//! chain and pays a comparison. What a fault decides is a pure function of its seed, the ordinal and the time since it
//! was armed; what it does to bytes is a state machine that takes the time as an argument. I/O stands around both.
//!
//! ```text
//! injector   the contract with the engine: open, close, plan, inject, adjust, recover, evidence
//! target     one open proxy: its listener, its connections, what is armed on it
//! conn       one connection as the control path sees it: which faults took it, how to wake and end it
//! listen     ports and unix sockets, and shutting them
//! route      which service a connection goes to
//! front      in front of containers: a listener in their namespace, the rules that lead there, following restarts
//! original   where redirected connections were going
//! accept     from a client's knock to bytes that pass
//! admission  whether and when a new connection may go on, and ending one that waits
//! proxyproto the PROXY protocol, in and out
//! udp        datagrams: a task a client
//! relay      layer 4: one task a connection copies both ways
//! faultio    the byte stream below HTTP, with the same chain in it
//! http       layer 7: requests from the client's connection to the service's, through the request faults
//! tls        TLS with clients and services, murphy's own CA
//! faults     one file a fault
//! timers     one timerfd for every delay of every fault
//! exchange   question and answer, where the protocol is not known
//! compare    requests that a fault hit against those that it spared
//! heads      response heads on their way through a shaped stream
//! watch      who looks at requests and holds them by hand
//! metrics    sharded counters and histograms, never reset
//! ```
// Two calls need it, in `timers`.
#![deny(unsafe_code)]

mod accept;
mod admission;
mod armed;
mod buffers;
mod chain;
mod compare;
mod conn;
mod dial;
mod exchange;
mod faultio;
mod faults;
mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod heads;
mod http;
mod injector;
mod knob;
mod listen;
mod metrics;
mod net;
mod news;
mod original;
mod proxyproto;
mod relay;
mod route;
mod target;
mod timers;
pub mod tls;
mod udp;
mod watch;

pub use injector::{Close, HOLD_LEASE, ProxyInjector};
pub use watch::{Hold, NoSuchHold, TopBy};
