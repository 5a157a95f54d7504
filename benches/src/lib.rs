//! Measurements side by side with what a user would use instead, printed as ratios. Not tests: nothing here fails for
//! being slow. See `README.md` beside this.
#![forbid(unsafe_code)]

pub mod agent;
pub mod contestant;
pub mod load;
pub mod process;
