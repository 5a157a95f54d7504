//! Murphy beside an application in its pod.
//!
//! ```text
//! ways       which ports lead through the proxy, as people write it
//! redirect   the rules that lead them there while the proxy lives
//! beat       how the proxy says that it lives
//! ```
// One call needs it, in `beat`.
#![deny(unsafe_code)]

pub mod beat;
pub mod manifest;
pub mod redirect;
pub mod ways;
