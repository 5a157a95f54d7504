//! What scenarios stand on: the binary, an agent, servers, clients. Everything made here is gone when it is dropped.

mod agent;
mod engine;
mod files;
mod http;
mod need;
mod packages;
mod peer;
mod processes;
mod server;
mod statistics;
mod terminal;
mod tls;

pub use agent::{Agent, Finished, TempDir, foreground_in, murphy, murphy_in};
pub use engine::{Engine, mounts};
pub use files::{Daemon, Served, Unmounted, can_serve, is_served, open_to_all, processes_in, state, text_of};
pub use http::{get, get_on};
pub use need::{WholeMachine, is_root, need, one_fixes, program, this_machine};
pub use packages::{cache, install, pip, run, sources};
pub use peer::{Peer, client};
pub use processes::{kill_both, running, signal_all};
pub use server::{Nginx, Postgres, PostgresClient, Redis, RedisClient, free_port};
pub use statistics::{binomial_ok, eventually, median, median_ms};
pub use terminal::Terminal;
pub use tls::{NginxTls, control_certificates, control_overlay, curl, s_client};
