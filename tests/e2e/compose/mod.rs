//! The shop of `deploy/compose` in an engine of the test's own: its experiments as they are, from a clean start to a clean
//! end; murphy killed in the middle; containers started anew in the middle.
//!
//! By hand: downloads Debian's Docker with compose (100 MB) and packages for the shop (80 MB) once.
//! `cargo test --test e2e compose:: -- --ignored --test-threads=1 --nocapture`

mod chaosmesh;
mod experiments;
mod inside;
mod shop;
