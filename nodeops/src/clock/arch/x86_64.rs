//! x86-64: a jump takes five bytes, so several instructions may have to move.

use super::{Arch, Position, Stub, x86_64_stub};
use iced_x86::{Decoder, DecoderOptions};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::ops::Range;

/// This machine's processor.
pub(in crate::clock) const NATIVE: X86 = X86;

/// How a signal's frame on the stack names the interrupted instruction (`struct sigcontext`, asm/sigcontext.h): its
/// address, then the flags, then the segments with that of user code.
#[derive(Debug)]
pub(in crate::clock) struct Interrupted;

impl Interrupted {
    /// Whether `words` of a stack begin with an interrupted instruction within `range`.
    pub fn is(words: &[u64], range: &Range<u64>) -> bool {
        let [ip, flags, segments, ..] = words else { return false };
        range.contains(ip) && flags & 2 != 0 && *flags < 1 << 22 && segments & 0xffff == 0x33
    }
}

/// Where a stopped thread is.
pub(in crate::clock) fn at(thread: Pid) -> nix::Result<Position> {
    ptrace::getregs(thread).map(|r| Position { ip: r.rip, sp: r.rsp, link: None })
}

/// See the module.
#[derive(Debug)]
pub(in crate::clock) struct X86;

/// `jmp rel32` and `call rel32`.
const JUMP: usize = 5;

impl Arch for X86 {
    fn stub(&self) -> Stub {
        x86_64_stub::stub()
    }

    fn patched(&self, image: &[u8], function: &Range<usize>) -> Range<usize> {
        // endbr64 stays where indirect calls must land.
        let start = function.start;
        let keep = if image[start..].starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
        start + keep..start + keep + JUMP
    }

    fn jump(&self, from: usize, to: usize) -> Vec<u8> {
        relative(0xe9, from, to)
    }

    fn call(&self, from: usize, to: usize) -> Vec<u8> {
        relative(0xe8, from, to)
    }

    fn moved(
        &self,
        image: &[u8],
        function: &Range<usize>,
        patched: &Range<usize>,
        to: usize,
    ) -> Result<Vec<u8>, String> {
        let mut out = image[function.start..patched.start].to_vec();
        let mut moved_to = patched.start;
        let code = &image[patched.start..function.end];
        for i in Decoder::with_ip(64, code, patched.start as u64, DecoderOptions::NONE) {
            let at = i.ip() as usize;
            if i.is_invalid() {
                return Err(format!("its code at {at:#x} does not decode"));
            }
            let target = i.near_branch_target() as usize;
            if at < patched.end {
                if target != 0 {
                    return Err(format!("there is a branch at {at:#x}, within its first instructions"));
                }
                let mut bytes = image[at..at + i.len()].to_vec();
                if i.is_ip_rel_memory_operand() {
                    let mut decoder = Decoder::with_ip(64, &image[at..], at as u64, DecoderOptions::NONE);
                    let again = decoder.decode();
                    let place = decoder.get_constant_offsets(&again).displacement_offset();
                    let next = to + out.len() + i.len();
                    let distance = i.ip_rel_memory_address() as i64 - next as i64;
                    let distance = i32::try_from(distance).map_err(|_| "data is too far away".to_owned())?;
                    bytes[place..place + 4].copy_from_slice(&distance.to_le_bytes());
                }
                out.extend(bytes);
                moved_to = at + i.len();
            } else if target > patched.start && target < moved_to {
                return Err(format!("the code at {at:#x} jumps back into its first instructions"));
            }
        }
        out.extend(self.jump(to + out.len(), moved_to));
        Ok(out)
    }
}

fn relative(opcode: u8, from: usize, to: usize) -> Vec<u8> {
    // Both are places within one image of a few pages.
    let distance = to as i64 - (from + JUMP) as i64;
    let mut out = vec![opcode];
    out.extend((distance as i32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_instructions_are_moved_with_their_data() {
        // push rbp; mov rax, [rip+0x100]; ret
        let mut image = vec![0x55, 0x48, 0x8b, 0x05, 0x00, 0x01, 0x00, 0x00, 0xc3];
        image.resize(0x400, 0);
        let function = 0..9;
        let patched = X86.patched(&image, &function);
        assert_eq!(patched, 0..5);
        let moved = X86.moved(&image, &function, &patched, 0x200).unwrap();
        // The same data: 0x108 seen from 0x208.
        assert_eq!(moved[..8], [0x55, 0x48, 0x8b, 0x05, 0x00, 0xff, 0xff, 0xff]);
        // And back behind the second instruction.
        assert_eq!(moved[8..], X86.jump(0x208, 8));
        assert_eq!(X86.jump(0x208, 8), [0xe9, 0xfb, 0xfd, 0xff, 0xff]);
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        // jmp +2; nop…
        let image = [vec![0xeb, 0x02], vec![0x90; 30]].concat();
        assert!(X86.moved(&image, &(0..16), &(0..5), 64).unwrap_err().contains("a branch"));
        // five nops, then a loop back into the third
        let image = [vec![0x90; 5], vec![0xeb, 0xfb], vec![0x90; 9]].concat();
        assert!(X86.moved(&image, &(0..16), &(0..5), 64).unwrap_err().contains("jumps back"));
        // endbr64 stays in its place, and is run in the copy too
        let image = [vec![0xf3, 0x0f, 0x1e, 0xfa], vec![0x90; 28]].concat();
        let patched = X86.patched(&image, &(0..16));
        assert_eq!(patched, 4..9);
        assert_eq!(X86.moved(&image, &(0..16), &patched, 64).unwrap().len(), 4 + 5 + 5);
    }

    #[test]
    fn a_signal_frame_is_told_from_other_words() {
        let vdso = 0x7000_0000_0000..0x7000_0000_2000;
        assert!(Interrupted::is(&[0x7000_0000_0010, 0x246, 0x2b_0000_0000_0033], &vdso));
        assert!(!Interrupted::is(&[0x7000_0000_0010, 0x7fff_0000_0246, 0x33], &vdso));
        assert!(!Interrupted::is(&[0x7000_0000_2010, 0x246, 0x33], &vdso));
        assert!(!Interrupted::is(&[0x7000_0000_0010, 0x246], &vdso));
    }
}
