//! TLS of the control API, on both sides: rustls, with files that are read again when they change.
//!
//! ```text
//! server     the agent's certificate, and whose clients may come in
//! roles      what the bearer of a certificate may do
//! client     whom a client believes, and what it shows
//! ```

mod client;
mod roles;
mod server;

pub use client::{ClientTls, Shown};
pub use host::trust::TrustError;
pub use roles::{RoleError, RoleRule, Roles};
pub use server::TlsOptions;
pub(crate) use server::{Accepted, ServerTls};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
