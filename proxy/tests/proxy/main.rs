//! The proxy on real sockets, in one process.

mod bench;
mod http;
mod layer4;
mod life;
mod more;
mod passing;
