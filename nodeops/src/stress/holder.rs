//! Something that is taken and held: by children, for as long as they live.

use super::Job;
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that is taken and held.
pub(crate) trait Holder: Send {
    /// Takes or gives back a little towards what is asked, `elapsed` after it was told: a few dozen milliseconds of work at
    /// most. How long until there may be something to do again; zero when there is.
    fn step(&mut self, elapsed: Duration) -> Duration;
    /// Another job of the same kind.
    fn set(&mut self, job: Job) -> Result<(), String>;
    /// What it holds, as numbers.
    fn measured(&self) -> BTreeMap<String, f64>;
}
