//! Murphy beside an application in its pod.
//!
//! ```text
//! ways       which ports lead through the proxy, as people write it
//! redirect   the rules that lead them there while the proxy lives
//! beat       how the proxy says that it lives
//! attach     murphy for a pod that runs already
//! manifest   manifests with murphy, and without it again
//! kube       talking to the API server
//! webhook    pods get it when they are made
//! ```
// One call needs it, in `beat`.
#![deny(unsafe_code)]

pub mod attach;
pub mod beat;
pub mod kube;
pub mod manifest;
pub mod redirect;
pub mod ways;
pub mod webhook;
