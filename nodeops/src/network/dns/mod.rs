//! Names that do not resolve, or wrongly: queries are led to a resolver of ours in the same namespace.

mod hosts;
mod resolver;
pub mod wire;

pub(crate) use hosts::{Names, look_up};
pub(crate) use resolver::{Asked, Resolver, Rules};
