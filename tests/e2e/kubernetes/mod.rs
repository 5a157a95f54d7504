//! What `deploy/kubernetes` and `murphy sidecar` make, on a real API server and a real kubelet: a cluster of one node that is
//! the test's own (`tests/kubernetes/cluster`).
//!
//! By hand: `tests/kubernetes/README.md` says what is built before, once.
//! `cargo test --test e2e kubernetes:: -- --ignored --test-threads=1 --nocapture`

mod agents;
mod certificates;
mod cluster;
mod sidecars;
mod webhook;
