//! Parameters as the hot path reads them; the file faults read theirs the same way.

pub(crate) use inject::knob::{Dials, Knob, moment};
