//! Containers of an engine on this machine: which are meant, and what the engine is asked to do to them.
//!
//! What is done inside of a container's namespaces and groups is other rooms' work; they find it through [`find()`].

pub mod api;
mod faults;
pub(crate) mod find;
mod injector;
mod limits;
mod record;

pub use find::{Finder, Found, State, engine, find, inspect, names, picked};
pub use injector::ContainerInjector;
