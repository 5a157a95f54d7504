//! A listing of a directory that is kept instead of read: what a fault shows again, or leaves names out of.

use fuser::FileType;
use std::ffi::CString;

/// The names, in their order.
pub(crate) struct Listing(pub(crate) Vec<Named>);

/// One name of a directory.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) ino: u64,
    pub(crate) kind: FileType,
    pub(crate) name: CString,
}
