//! What differs between processors: the stub, the jump to it, and moving a function's first instructions.
//!
//! Everything here makes bytes from bytes and touches no process, so that a processor's code can be tested on another.

#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
mod x86_64_stub;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use aarch64::{Interrupted, NATIVE, at};
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{Interrupted, NATIVE, at};

use std::ops::Range;

/// Where a stopped thread is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The instruction that is next.
    pub ip: u64,
    /// Its stack.
    pub sp: u64,
    /// Where the function it is in returns to, on a processor that has that in a register and not on the stack.
    pub link: Option<u64>,
}

/// A processor's way of detouring a function.
pub(super) trait Arch: Sync {
    /// The code that takes the place of the vDSO's functions.
    fn stub(&self) -> Stub;

    /// Which bytes of a function are replaced: as many as a jump takes, behind what must stay at its beginning.
    fn patched(&self, image: &[u8], function: &Range<usize>) -> Range<usize>;

    /// Where the jump at `patched` leads when `entry` is a stand-in: what stays at the function's beginning may have to be
    /// undone first.
    fn entry(&self, _image: &[u8], _function: &Range<usize>, entry: usize) -> usize {
        entry
    }

    /// A jump from one place of the image to another.
    fn jump(&self, from: usize, to: usize) -> Vec<u8>;

    /// A call from one place of the image to another, as long as the stub has room for.
    fn call(&self, from: usize, to: usize) -> Vec<u8>;

    /// The instructions that a jump at `patched` replaces, made to run at `to`, and a jump back behind them. Says why not
    /// when an instruction cannot be moved.
    fn moved(
        &self,
        image: &[u8],
        function: &Range<usize>,
        patched: &Range<usize>,
        to: usize,
    ) -> Result<Vec<u8>, String>;
}

/// Position-independent code with places to fill in. All numbers are offsets within `bytes`.
#[derive(Debug, Clone)]
pub(super) struct Stub {
    /// The code, with room for [`super::image::Head`] at its beginning.
    pub bytes: Vec<u8>,
    /// For each function that is detoured, its names in the vDSO and where its stand-in begins. The first one is the one
    /// that the stub itself calls.
    pub entries: Vec<(&'static [&'static str], usize)>,
    /// The call of the vDSO's own function.
    pub call: usize,
    /// A byte that counts changes; its lowest bit says which set is read.
    pub counter: usize,
    /// Two sets, one behind the other.
    pub params: usize,
}
