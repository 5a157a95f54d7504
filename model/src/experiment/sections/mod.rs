//! One file per section of an experiment.

pub(super) mod load;
mod machine;
pub(super) mod names;
pub(super) mod safety;
pub(super) mod stages;
pub(super) mod steady_state;
pub(super) mod targets;
mod tls;
