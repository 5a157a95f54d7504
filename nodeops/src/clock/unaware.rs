//! Programs that will not see a changed vDSO, because nothing in them knows that there is one.
//!
//! Whoever calls the vDSO looks its function up by name, and so has the name in their bytes: the C library or its loader,
//! Go's runtime, or the program itself when it is static. Where nobody has it, the time comes from system calls.

use host::Process;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// The name that is looked up.
const NAMES: [&[u8]; 2] = [b"__vdso_clock_gettime", b"__kernel_clock_gettime"];
/// What older releases of Go have in the place of the hashes of that name on aarch64: those of its name on x86-64
/// (golang.org/issue/62309). They find it nevertheless in a vDSO that is old enough to have one list of all names.
#[cfg(target_arch = "aarch64")]
const GO_MISTAKE: [u8; 8] = [0x75, 0xec, 0x35, 0x0d, 0x18, 0xa3, 0x43, 0x6e];
/// So much of a file is read: longer ones are taken to know it.
const MOST: u64 = 64 * 1024 * 1024;
/// So many files are read: who has more is no small static program.
const FILES: usize = 8;

/// What to say of a process that asks the kernel itself; none for all others, and where it cannot be told.
pub(super) fn warning(process: &Process) -> Option<String> {
    let pid = process.id.pid;
    #[cfg(target_arch = "aarch64")]
    if looks_under_another_name(pid) {
        return Some(format!(
            "process {pid} ({}) was built by a Go that looks for the vDSO's function under the name it has on other processors \
             (golang.org/issue/62309): it asks the kernel for the time and will not see this; build it with a newer Go, or change the \
             machine's clock instead (system_clock)",
            process.comm
        ));
    }
    let files = code(pid)?;
    if files.is_empty() || files.len() > FILES {
        return None;
    }
    // A loader's or a library's own business is known: they look it up.
    let dynamic = files.iter().filter_map(|f| f.file_name()?.to_str()).any(|name| {
        name.starts_with("ld-")
            || name.starts_with("ld.so")
            || name.starts_with("libc.")
            || name.starts_with("libc-")
    });
    if dynamic {
        return None;
    }
    for file in files {
        // As the process sees it, whose root may be another one.
        if knows(&PathBuf::from(format!("/proc/{pid}/root{}", file.display())))? {
            return None;
        }
    }
    Some(format!(
        "process {pid} ({}) has no code that calls the vDSO: it asks the kernel for the time by system calls and will not see this; \
         change the machine's clock instead (system_clock)",
        process.comm
    ))
}

/// The files that it has code of.
fn code(pid: u32) -> Option<BTreeSet<PathBuf>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let file = |line: &str| {
        let mut fields = line.split_whitespace();
        let executable = fields.nth(1)?.contains('x');
        let path = fields.nth(3)?;
        (executable && path.starts_with('/')).then(|| PathBuf::from(path))
    };
    Some(maps.lines().filter_map(file).collect())
}

/// Whether a program is of a Go that does not find what it looks for in this machine's vDSO.
#[cfg(target_arch = "aarch64")]
fn looks_under_another_name(pid: u32) -> bool {
    use object::{Object, ObjectSection};
    let Ok(image) = super::image::Image::own() else { return false };
    let Ok(vdso) = object::File::parse(&*image.bytes) else { return false };
    // Where there is a table of hashes it is the one that is looked into.
    let hashed = vdso.sections().any(|s| s.name() == Ok(".gnu.hash"));
    let read = || {
        let file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).ok()?;
        Some(contains(&bytes, &GO_MISTAKE))
    };
    hashed && read().unwrap_or(false)
}

fn knows(file: &PathBuf) -> Option<bool> {
    let file = File::open(file).ok()?;
    if file.metadata().ok()?.len() > MOST {
        return Some(true);
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(NAMES.iter().any(|name| contains(&bytes, name)))
}

/// Looks for the first byte first, which is rare enough.
fn contains(bytes: &[u8], name: &[u8]) -> bool {
    let (first, rest) = (name[0], &name[1..]);
    bytes.iter().enumerate().any(|(at, b)| *b == first && bytes[at + 1..].starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_aware() {
        let me = host::process::describe(std::process::id()).unwrap();
        assert_eq!(warning(&me), None);
        assert!(!code(me.id.pid).unwrap().is_empty());
    }

    #[test]
    fn names_are_found_in_bytes() {
        assert!(contains(b"xx__vdso_clock_gettime\0", NAMES[0]));
        assert!(!contains(b"__vdso_clock_gettim", NAMES[0]));
        assert!(!contains(b"_", NAMES[0]));
    }
}
