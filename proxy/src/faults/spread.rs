//! How late: the distributions that all rooms share.

pub(super) use inject::spread::{Spread, Walk};
