//! The control API: what an agent can be asked and told, over a unix socket or TCP, as HTTP/1.1 and JSON.
//!
//! ```text
//! Client ──HTTP──▶ Server ──calls──▶ dyn Service   (implemented over the engine by the command)
//!    ▲                │
//!    └──── SSE ◀──────┘ Feed: events kept for those who come later, and live ones
//! ```
//! [`wire`] holds the types both ends share, [`routes`] the one table from which dispatch and the OpenAPI description
//! are made. Who asks is known by the peer credentials of the unix socket, by a certificate or by a token, and decides the
//! [`Role`].
#![forbid(unsafe_code)]

mod caller;
pub mod client;
pub mod connections;
pub mod endpoint;
pub mod feed;
mod fresh;
mod metrics;
pub mod openapi;
pub mod operations;
mod query;
pub mod requests;
pub mod routes;
mod schema;
pub mod server;
pub mod service;
pub mod tls;
pub mod token;
pub mod toxiproxy;
pub mod wire;

pub use caller::{Caller, Role};
pub use client::{Client, ClientError, Signal};
pub use connections::{Close, ConnectionList, ConnectionQuery, Sort};
pub use endpoint::Endpoint;
pub use feed::Feed;
pub use operations::{OperationList, OperationQuery, OperationRow};
pub use requests::{HoldOrder, HoldView, RequestList, RequestQuery, TopBy, TopList};
pub use server::{Options, Server, SocketOptions, StartError, TcpOptions};
pub use service::{Answer, Service};
pub use token::Token;
pub use wire::{Code, Failure};
