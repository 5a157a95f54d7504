//! The vDSO: the kernel's own code for reading clocks, mapped into every process, the same in all.
//!
//! Our own copy is the pristine image that everything is compared with and restored from, so that an undo needs no
//! saved bytes.

use super::arch::{Arch, NATIVE, Stub};
use super::memory::Memory;
use host::ProcessId;
use object::{Object, ObjectSymbol};
use std::fs;
use std::ops::Range;
use std::sync::OnceLock;

/// What begins the room in a process whose clock is changed.
const MAGIC: [u8; 8] = *b"murphyck";
/// Bytes of a [`Head`].
pub(super) const HEAD: usize = 32;
/// `AT_SYSINFO_EHDR` of getauxval(3): where the vDSO begins.
const WHERE: u64 = 33;

/// Who changed a process's clock, and under which name; at the beginning of the stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The act: the same in forked children.
    pub tag: u64,
    /// The process that did it.
    pub owner: ProcessId,
}

impl Head {
    pub fn to_bytes(self) -> Vec<u8> {
        let pid = u64::from(self.owner.pid);
        let words = [self.tag, pid, self.owner.start];
        MAGIC.into_iter().chain(words.into_iter().flat_map(u64::to_ne_bytes)).collect()
    }

    /// The head that `bytes` begin with, if they do.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let word = |i: usize| Some(u64::from_ne_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?));
        bytes.starts_with(&MAGIC).then_some(())?;
        let pid = u32::try_from(word(2)?).ok()?;
        Some(Head { tag: word(1)?, owner: ProcessId { pid, start: word(3)? } })
    }
}

/// The pristine vDSO, and what would be changed in it.
#[derive(Debug)]
pub(super) struct Image {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Where the stub goes.
    pub room: Range<usize>,
    /// What the stub's bytes are, ready to be copied there, head and sets not filled in.
    pub code: Vec<u8>,
    /// Offsets within the stub.
    pub stub: Stub,
    /// The bytes of the vDSO's functions that become jumps, with those jumps.
    pub jumps: Vec<(Range<usize>, Vec<u8>)>,
}

/// Why no clock can be changed on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unpatchable {
    /// There is none, so programs ask the kernel.
    #[error("this kernel maps no vDSO (vdso=0?), so programs ask it for the time by system calls")]
    NoVdso,
    /// It cannot be read.
    #[error("our own vDSO cannot be read: {0}")]
    Unreadable(String),
    /// Our own is not pristine.
    #[error("murphy itself runs with a changed clock, so it does not know what an unchanged one looks like")]
    NotPristine,
    /// It is not as we know it.
    #[error("this kernel's vDSO is not as expected: {0}")]
    Strange(String),
    /// The stub does not fit.
    #[error("there is no room in this kernel's vDSO: {need} bytes are needed, {have} are free")]
    NoRoom {
        /// Bytes of the stub.
        need: usize,
        /// Bytes free.
        have: usize,
    },
}

impl Image {
    /// This machine's, looked at once.
    pub fn own() -> Result<&'static Image, Unpatchable> {
        static OWN: OnceLock<Result<Image, Unpatchable>> = OnceLock::new();
        OWN.get_or_init(|| {
            let me = ProcessId::me();
            let range = mapping(me.pid).ok_or(Unpatchable::NoVdso)?;
            let unreadable = |e: &dyn std::fmt::Display| Unpatchable::Unreadable(e.to_string());
            let memory = Memory::open_to_read(me).map_err(|e| unreadable(&e))?;
            let length = (range.end - range.start) as usize;
            let bytes = memory.read(range.start, length).map_err(|e| unreadable(&e))?;
            Image::new(bytes, &NATIVE)
        })
        .as_ref()
        .map_err(Clone::clone)
    }

    /// Lays everything out for a vDSO.
    fn new(bytes: Vec<u8>, arch: &dyn Arch) -> Result<Image, Unpatchable> {
        let strange = |what: String| Unpatchable::Strange(what);
        let file = object::File::parse(&*bytes).map_err(|e| strange(e.to_string()))?;
        let stub = arch.stub();
        let mut found = Vec::new();
        for (names, entry) in &stub.entries {
            let symbol = file.dynamic_symbols().find(|s| s.name().is_ok_and(|n| names.contains(&n)));
            let Some(symbol) = symbol else { continue };
            let start = symbol.address() as usize;
            let function = start..start.saturating_add(symbol.size() as usize);
            if function.len() < 16 || function.end > bytes.len() {
                return Err(strange(format!("{} is {function:x?}", names[0])));
            }
            found.push((function, *entry));
        }
        let Some(((first, entry), _)) = found.split_first() else {
            return Err(strange("it has no clock_gettime".into()));
        };
        if *entry != stub.entries[0].1 {
            return Err(strange("it has no clock_gettime".into()));
        }
        let patched = arch.patched(&bytes, first);
        let room = room(&bytes, |at| {
            let moved = arch.moved(&bytes, first, &patched, at + stub.bytes.len());
            moved.map_or(stub.bytes.len(), |m| stub.bytes.len() + m.len())
        })?;
        if bytes[room.start..].starts_with(&MAGIC) {
            return Err(Unpatchable::NotPristine);
        }
        let original = room.start + stub.bytes.len();
        let moved = arch.moved(&bytes, first, &patched, original).map_err(strange)?;
        let mut code = stub.bytes.clone();
        let call = arch.call(room.start + stub.call, original);
        code[stub.call..stub.call + call.len()].copy_from_slice(&call);
        code.extend(moved);
        let mut jumps = Vec::new();
        for (function, entry) in found {
            let patched = arch.patched(&bytes, &function);
            let jump = arch.jump(patched.start, room.start + arch.entry(&bytes, &function, entry));
            jumps.push((patched, jump));
        }
        // The last one to be written is the one that others lead to.
        jumps.reverse();
        let room = room.start..room.start + code.len();
        Ok(Image { bytes, room, code, stub, jumps })
    }

    /// Where the vDSO begins in a process; none when it has none.
    pub fn base(pid: u32) -> std::io::Result<Option<u64>> {
        let auxv = fs::read(format!("/proc/{pid}/auxv"))?;
        let word =
            |pair: &[u8], i: usize| u64::from_ne_bytes(pair[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        Ok(auxv.chunks_exact(16).find(|pair| word(pair, 0) == WHERE).map(|pair| word(pair, 1)))
    }
}

/// The mapping of the vDSO.
fn mapping(pid: u32) -> Option<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|l| l.ends_with("[vdso]"))?;
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
}

/// Where so many bytes as are needed at a place can lie: behind everything, or else over the table of sections, which only
/// debuggers read.
fn room(bytes: &[u8], needed: impl Fn(usize) -> usize) -> Result<Range<usize>, Unpatchable> {
    const LINE: usize = 64;
    let word = |at: usize, len: usize| {
        let part = bytes.get(at..at + len).unwrap_or_default();
        part.iter().rev().fold(0_usize, |all, b| all << 8 | usize::from(*b))
    };
    // e_shoff, e_shentsize and e_shnum of the ELF header (elf(5)).
    let sections = word(0x28, 8);
    let behind_sections = sections + word(0x3a, 2) * word(0x3c, 2);
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut have = 0;
    let over = (used <= behind_sections && sections > 0).then_some(sections);
    for from in [Some(used.max(behind_sections)), over].into_iter().flatten() {
        let start = from.next_multiple_of(LINE);
        let need = needed(start);
        if start + need <= bytes.len() {
            return Ok(start..start + need);
        }
        have = bytes.len().saturating_sub(start);
    }
    Err(Unpatchable::NoRoom { need: needed(0), have })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        let head = Head { tag: 0xfeed, owner: ProcessId { pid: 4711, start: 8812 } };
        let bytes = head.to_bytes();
        assert_eq!(bytes.len(), HEAD);
        assert_eq!(Head::read(&bytes), Some(head));
        assert_eq!(Head::read(&[0; HEAD]), None);
    }

    #[test]
    fn this_machines_vdso_has_room() {
        let image = Image::own().unwrap();
        assert!(image.room.start.is_multiple_of(64) && image.room.end <= image.bytes.len());
        assert!(image.jumps.len() >= 2, "{:?}", image.jumps);
        assert_eq!(image.code.len(), image.room.len());
        for (at, jump) in &image.jumps {
            assert_eq!(at.len(), jump.len());
            assert!(at.end <= image.room.start);
        }
    }

    #[test]
    fn without_room_the_table_of_sections_gives_way() {
        let mut bytes = vec![1_u8; 4096];
        bytes[0x28..0x30].copy_from_slice(&3000_u64.to_le_bytes());
        bytes[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        bytes[0x3c..0x3e].copy_from_slice(&17_u16.to_le_bytes());
        // The table ends at 4088.
        bytes[4088..].fill(0);
        assert_eq!(room(&bytes, |_| 700), Ok(3008..3708));
        assert_eq!(room(&bytes, |_| 2000), Err(Unpatchable::NoRoom { need: 2000, have: 1088 }));
        bytes.resize(8192, 0);
        assert_eq!(room(&bytes, |_| 700), Ok(4096..4796));
    }
}
