//! Single files of the machine or of a container: changed, moved, deleted, and restored byte for byte.
//!
//! The original stays beside the file, in the same filesystem: it survives whatever happens to us, and moving it back
//! needs no space.

mod act;
mod change;
mod facts;
mod injector;
mod keep;
mod spot;
mod text;

pub use injector::FileInjector;
