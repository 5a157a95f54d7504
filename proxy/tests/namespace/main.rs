//! What needs a network of its own. Each test makes a network namespace for its thread: needs root, `ip` and `nft`.

mod blackhole;
mod front;
mod keep_source;
mod redirect;
mod spaces;
