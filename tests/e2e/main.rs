//! The program as its users have it: the real binary, real servers, a real terminal. A new scenario is a new file.
//!
//! What a test needs of the machine is looked for; without it the test prints why it is skipped, and fails when
//! `MURPHY_E2E=require` is set, as it is in CI.

mod access;
mod clients;
mod clocks;
mod compose;
mod configs;
mod connections;
mod console;
mod crash;
mod demo;
mod files;
mod front;
mod ground;
mod kubernetes;
mod live;
mod machine;
mod network;
mod nginx;
mod postgres;
mod programs;
mod redis;
mod requests;
mod run;
mod secure;
mod sidecar;
mod tls;
mod told;
mod toxiproxy;
mod words;
