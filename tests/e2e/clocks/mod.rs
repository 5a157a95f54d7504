//! Clocks of real programs, changed and changed back; what murphy's doctor says, against trying it.

mod accuracy;

mod doctor;
mod kills;
mod life;
pub mod tellers;
