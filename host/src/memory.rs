//! The memory of this process.

use crate::sys;
use std::fs;
use std::ops::Range;

/// Lets the kernel take back the pages of this program's file that were needed to start; those that are needed again come
/// back by themselves. For processes that wait most of their lives and are counted by what they hold.
pub fn forget_start() {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    for range in unchanged(&maps, &program.to_string_lossy()) {
        // What cannot be taken back stays.
        let _ = sys::forget_clean(range);
    }
}

/// The mappings of that file that can only be read and hold nothing but what the file holds. Relocated data can only be read,
/// too, and would be lost.
fn unchanged(maps: &str, program: &str) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let (rights, path) = (words.next().unwrap_or_default(), words.nth(3).unwrap_or_default());
            let range = usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            let ours = path == program && matches!(rights, "r--p" | "r-xp");
            current = range.filter(|_| ours).map(|(start, end)| start..end);
        } else if first == "Anonymous:" && words.next() == Some("0") {
            all.extend(current.take());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "00400000-00500000 r--p 00000000 08:01 17 /murphy\nRss: 4 kB\nAnonymous: 0 kB\n\
        00500000-00900000 r-xp 00100000 08:01 17 /murphy\nAnonymous: 0 kB\n\
        00900000-00980000 r--p 00500000 08:01 17 /murphy\nAnonymous: 512 kB\n\
        00980000-00990000 rw-p 00580000 08:01 17 /murphy\nAnonymous: 0 kB\n\
        7f0000000000-7f0000100000 r-xp 00000000 08:01 18 /lib/libc.so.6\nAnonymous: 0 kB\n\
        7f0000100000-7f0000200000 r--p 00000000 00:00 0\nAnonymous: 0 kB\n";

    #[test]
    fn only_what_the_file_can_give_back_is_forgotten() {
        assert_eq!(unchanged(MAPS, "/murphy"), [0x40_0000..0x50_0000, 0x50_0000..0x90_0000]);
        // It works on: this test runs in pages that it has forgotten.
        forget_start();
        assert_eq!(unchanged(MAPS, "/other"), []);
    }
}
