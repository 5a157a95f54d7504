//! The proxy on real sockets, in one process.

mod bench;
mod connections;
mod http;
mod layer4;
mod life;
mod more;
mod passing;
mod raw;
mod targets;
mod tls;
mod udp;
mod upstreams;
mod versions;
