//! TLS with clients and with services, and what can go wrong with it.
//!
//! ```text
//! hello       the ClientHello, read from anyone's bytes
//! greet       a client's handshake, and what the faults make of it
//! answers     alerts and ServerHellos written by hand, for what no TLS library says
//! gate        stops a handshake at a named step
//! below       the socket below TLS
//! terminator  configurations of the server's side, made when they are needed
//! mint        certificates, right ones and wrong ones
//! weak        the key that is too weak
//! authority   murphy's own CA
//! originate   TLS with the service
//! files       what the user gives in PEM files
//! ```
//!
//! TLS is above the socket and below everything else: faults on connections act on what it carries, requests are read from
//! it. Where it passes through, they act on the encrypted bytes.

mod answers;
mod authority;
mod below;
mod files;
mod gate;
mod greet;
mod hello;
mod mint;
mod originate;
mod terminator;
mod weak;

pub use authority::{Authority, CaError};
pub use hello::{ClientHello, Parsed, parse};

pub(crate) use answers::{TLS10, TLS11, alert_number};
pub(crate) use below::Below;
pub(crate) use gate::Step;
pub(crate) use greet::{Downstream, greet};
pub(crate) use hello::{ALERT, APPLICATION_DATA, HEADER};
pub(crate) use mint::{Flaw, Mint};
pub(crate) use originate::{Offer, Originate};
pub(crate) use terminator::{Accept, Terminator, Version};
