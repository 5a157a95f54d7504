//! Real programs in a served directory: what a power cut takes from them, and what each does about errors.
//!
//! What is quick runs always. The table of docs/files-programs.md comes from [`table`], by hand.

mod cargo;
mod etcd;
mod git;
mod postgres;
mod redis;
mod sqlite;
mod table;
