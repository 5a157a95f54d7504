//! aarch64: every instruction is four bytes, so a jump replaces one. Made word by word, so that it is data on any machine.
//!
//! Encodings are those of the Arm Architecture Reference Manual (DDI 0487), section C6.2; the tests compare them with
//! what an assembler makes of the same text.

use super::{Arch, Stub};
use crate::clock::image::HEAD;
use std::collections::BTreeMap;
use std::ops::Range;

/// This machine's processor.
#[cfg(target_arch = "aarch64")]
pub(in crate::clock) const NATIVE: Arm = Arm;

/// How a signal's frame names the interrupted instruction (`struct sigcontext`, asm/sigcontext.h): its address, then the
/// processor's state, which for user code has no mode bits, then, at the next multiple of 16, the first of the records,
/// which is that of the floating point registers. Nothing less will do: the vDSO has the code that handlers return to, so
/// that its addresses are on the stack of each of them.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug)]
pub(in crate::clock) struct Interrupted;

#[cfg(not(target_arch = "x86_64"))]
impl Interrupted {
    /// Whether `words` of a stack begin with an interrupted instruction within `range`.
    pub fn is(words: &[u64], range: &Range<u64>) -> bool {
        const FPSIMD_MAGIC: u32 = 0x4650_8001;
        let [pc, state, _, record, ..] = words else { return false };
        range.contains(pc) && state & 0x1f == 0 && state >> 32 == 0 && *record as u32 == FPSIMD_MAGIC
    }
}

/// Where a stopped thread is.
#[cfg(target_arch = "aarch64")]
pub(in crate::clock) fn at(thread: nix::unistd::Pid) -> nix::Result<super::Position> {
    use nix::sys::ptrace::{getregset, regset::NT_PRSTATUS};
    const LINK: usize = 30;
    let registers = getregset::<NT_PRSTATUS>(thread)?;
    Ok(super::Position { ip: registers.pc, sp: registers.sp, link: Some(plain(registers.regs[LINK])) })
}

/// An address that may be signed: the signature is in the bits that no address of a program has.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "registers are read where it runs"))]
fn plain(address: u64) -> u64 {
    address & 0xffff_ffff_ffff
}

/// See the module.
#[derive(Debug)]
pub(in crate::clock) struct Arm;

/// `bti c`: where an indirect call may land, so it stays at a function's beginning.
const LANDING: u32 = 0xd503_245f;
/// `paciasp`: signs the return address with the stack pointer, and is another place where an indirect call may land.
const SIGNS: u32 = 0xd503_233f;
/// `autiasp`: makes it the plain address again.
const CHECKS: u32 = 0xd503_23bf;
/// `pacibsp` is the same with another key, which no kernel builds its vDSO with.
const SIGNS_OTHERWISE: u32 = 0xd503_237f;
const WORD: usize = 4;

impl Arch for Arm {
    fn stub(&self) -> Stub {
        let mut a = Code::new();
        // clock_gettime(id: w0, time: x1). Before each entry is what a function's first instruction has done, undone.
        a.word(CHECKS);
        a.label("gettime");
        a.word(stp_pre(29, 30, -32));
        a.word(stp(0, 1, SP, 16));
        a.label("call");
        a.word(0);
        a.word(ldp(10, 1, SP, 16));
        a.word(ldp_post(29, 30, 32));
        a.to("done", cbnz32(0));
        a.word(cmp32(10, 11));
        a.to("done", b_if(HI));
        a.word(movz(11, 1, 0));
        a.word(lslv(11, 11, 10));
        // REALTIME 0, REALTIME_COARSE 5, REALTIME_ALARM 8
        a.word(movz(12, 0x121, 0));
        a.word(tst(11, 12));
        a.word(movz(13, 0, 0));
        a.to("read", b_if(NE));
        // MONOTONIC 1, MONOTONIC_COARSE 6
        a.word(movz(12, 0x42, 0));
        a.word(tst(11, 12));
        a.to("done", b_if(EQ));
        a.word(movz(13, 48, 0));
        a.label("read");
        a.to("counter", adr(16));
        a.to("params", adr(14));
        a.word(ldarb(15, 16));
        a.word(and_1(2, 15));
        a.word(movz(3, 96, 0));
        a.word(madd(4, 2, 3, 14));
        a.word(add(4, 4, 13));
        a.word(ldp(5, 6, 4, 0));
        a.word(ldp(7, 8, 4, 16));
        a.word(ldp(9, 11, 4, 32));
        // Read before the counter is looked at again.
        a.word(DMB_ISHLD);
        a.word(ldrb(12, 16));
        a.word(cmp32_reg(12, 15));
        a.to("read", b_if(NE));
        a.word(orr(2, 5, 6));
        a.to("done", cbz(2));
        a.word(ldp(2, 3, 1, 0));
        a.word(movz(12, 0xca00, 0));
        a.word(movk(12, 0x3b9a, 16));
        a.word(madd(2, 2, 12, 3));
        // deadline
        a.to("open", cbz(8));
        a.word(cmp(2, 8));
        a.to("done", b_if(GE));
        a.label("open");
        a.word(subs(3, 2, 7));
        a.word(csel(3, 3, ZR, PL));
        // strobe
        a.to("steady", cbz(11));
        a.word(udiv(7, 3, 11));
        a.to("done", tbnz0(7));
        a.label("steady");
        // span
        a.to("endless", cbz(9));
        a.word(cmp(3, 9));
        a.word(csel(3, 3, 9, LE));
        a.label("endless");
        a.word(mul(7, 3, 6));
        a.word(smulh(8, 3, 6));
        a.word(extr(7, 8, 7, 32));
        a.word(add(7, 7, 5));
        a.word(adds(2, 2, 7));
        a.word(csel(2, 2, ZR, PL));
        a.word(udiv(3, 2, 12));
        a.word(msub(4, 3, 12, 2));
        a.word(stp(3, 4, 1, 0));
        a.label("done");
        a.word(RET);
        // gettimeofday(time: x0, zone: x1); the zone is the kernel's to say
        a.word(CHECKS);
        a.label("timeofday");
        a.to("ask", cbz(0));
        a.word(stp_pre(29, 30, -48));
        a.word(stp(0, 1, SP, 16));
        a.word(movz(0, 0, 0));
        a.word(add_imm(1, SP, 32));
        a.to("gettime", BL);
        a.word(ldp(0, 1, SP, 16));
        a.word(ldp(2, 3, SP, 32));
        a.word(movz(4, 1000, 0));
        a.word(udiv(3, 3, 4));
        a.word(stp(2, 3, 0, 0));
        a.word(ldp_post(29, 30, 48));
        a.word(movz(0, 0, 0));
        a.to("told", cbz(1));
        a.label("ask");
        a.word(movz(8, 169, 0));
        a.word(SVC);
        a.label("told");
        a.word(RET);
        a.align(8);
        a.label("counter");
        a.zero(8);
        a.label("params");
        a.zero(192);
        let (bytes, at) = a.finish();
        Stub {
            entries: vec![
                (&["__kernel_clock_gettime"], at["gettime"]),
                (&["__kernel_gettimeofday"], at["timeofday"]),
            ],
            call: at["call"],
            counter: at["counter"],
            params: at["params"],
            bytes,
        }
    }

    fn patched(&self, image: &[u8], function: &Range<usize>) -> Range<usize> {
        // Both stay where indirect calls must land.
        let lands = matches!(word_at(image, function.start), Some(LANDING | SIGNS));
        let start = function.start + if lands { WORD } else { 0 };
        start..start + WORD
    }

    fn entry(&self, image: &[u8], function: &Range<usize>, entry: usize) -> usize {
        // Whoever comes behind `paciasp` has a signed return address. In between, someone who stands there has it whether
        // the jump is there or not.
        if word_at(image, function.start) == Some(SIGNS) { entry - WORD } else { entry }
    }

    fn jump(&self, from: usize, to: usize) -> Vec<u8> {
        branch(B, from, to).to_le_bytes().to_vec()
    }

    fn call(&self, from: usize, to: usize) -> Vec<u8> {
        branch(BL, from, to).to_le_bytes().to_vec()
    }

    fn moved(
        &self,
        image: &[u8],
        function: &Range<usize>,
        patched: &Range<usize>,
        to: usize,
    ) -> Result<Vec<u8>, String> {
        let mut out = image[function.start..patched.start].to_vec();
        let word = word_at(image, patched.start).ok_or("its code ends too soon")?;
        let place = to + out.len();
        out.extend(relocate(word, patched.start, place)?.to_le_bytes());
        out.extend(self.jump(to + out.len(), patched.end));
        Ok(out)
    }
}

/// An instruction made to do at `to` what it does at `from`, with `bl` and literals refused: they are not how a function
/// begins.
fn relocate(word: u32, from: usize, to: usize) -> Result<u32, String> {
    let refused = |what: &str| Err(format!("it begins with {what}, which cannot be moved"));
    match word {
        SIGNS_OTHERWISE => refused("signing its return address with the other key"),
        w if w & 0x1f00_0000 == 0x1000_0000 => {
            // adr and adrp: 21 bits, low two of them above the rest; adrp counts pages.
            let page = w >> 31 == 1;
            let raw = i64::from((w >> 5 & 0x7_ffff) << 2 | w >> 29 & 3);
            let distance = (raw << 43) >> 43;
            let moved = if page {
                distance + (from >> 12) as i64 - (to >> 12) as i64
            } else {
                distance + from as i64 - to as i64
            };
            if !(-(1 << 20)..1 << 20).contains(&moved) {
                return refused("an address too far away");
            }
            let bits = (moved & 0x1f_ffff) as u32;
            Ok(w & 0x9f00_001f | (bits & 3) << 29 | (bits >> 2) << 5)
        }
        w if w & 0x7c00_0000 == 0x1400_0000 => refused("a branch"),
        w if w & 0xff00_0010 == 0x5400_0000 => refused("a conditional branch"),
        w if w & 0x7e00_0000 == 0x3400_0000 || w & 0x7e00_0000 == 0x3600_0000 => refused("a test and branch"),
        w if w & 0x3b00_0000 == 0x1800_0000 => refused("a literal"),
        w if w & 0xfe00_0000 == 0xd600_0000 => refused("an indirect branch"),
        w => Ok(w),
    }
}

fn word_at(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(image.get(at..at + WORD)?.try_into().ok()?))
}

/// Code that is being written, with labels that may be named before they are set.
struct Code {
    bytes: Vec<u8>,
    labels: BTreeMap<&'static str, usize>,
    open: Vec<(usize, &'static str)>,
}

impl Code {
    fn new() -> Code {
        Code { bytes: vec![0; HEAD], labels: BTreeMap::new(), open: Vec::new() }
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    /// A word that leads to a label.
    fn to(&mut self, label: &'static str, word: u32) {
        self.open.push((self.bytes.len(), label));
        self.word(word);
    }

    fn label(&mut self, label: &'static str) {
        self.labels.insert(label, self.bytes.len());
    }

    fn zero(&mut self, n: usize) {
        self.bytes.resize(self.bytes.len() + n, 0);
    }

    fn align(&mut self, to: usize) {
        self.zero(self.bytes.len().next_multiple_of(to) - self.bytes.len());
    }

    fn finish(mut self) -> (Vec<u8>, BTreeMap<&'static str, usize>) {
        for (at, label) in std::mem::take(&mut self.open) {
            let word = word_at(&self.bytes, at).unwrap_or_default();
            let led = branch(word, at, self.labels[label]);
            self.bytes[at..at + WORD].copy_from_slice(&led.to_le_bytes());
        }
        (self.bytes, self.labels)
    }
}

/// A word that leads somewhere, with the distance filled in where its kind has it.
fn branch(word: u32, from: usize, to: usize) -> u32 {
    let bytes = to as i64 - from as i64;
    let words = (bytes >> 2) as u32;
    match word {
        w if w & 0x7c00_0000 == 0x1400_0000 => w | words & 0x03ff_ffff,
        w if w & 0x7e00_0000 == 0x3600_0000 => w | (words & 0x3fff) << 5,
        w if w & 0x9f00_0000 == 0x1000_0000 => {
            w | (bytes as u32 & 3) << 29 | ((bytes >> 2) as u32 & 0x7_ffff) << 5
        }
        w => w | (words & 0x7_ffff) << 5,
    }
}

const SP: u32 = 31;
const ZR: u32 = 31;
const EQ: u32 = 0;
const NE: u32 = 1;
const PL: u32 = 5;
const HI: u32 = 8;
const GE: u32 = 10;
const LE: u32 = 13;
const B: u32 = 0x1400_0000;
const BL: u32 = 0x9400_0000;
const RET: u32 = 0xd65f_03c0;
const SVC: u32 = 0xd400_0001;
const DMB_ISHLD: u32 = 0xd503_39bf;

fn pair(op: u32, a: u32, b: u32, base: u32, offset: i32) -> u32 {
    op | ((offset / 8) as u32 & 0x7f) << 15 | b << 10 | base << 5 | a
}
fn stp(a: u32, b: u32, base: u32, offset: i32) -> u32 {
    pair(0xa900_0000, a, b, base, offset)
}
fn ldp(a: u32, b: u32, base: u32, offset: i32) -> u32 {
    pair(0xa940_0000, a, b, base, offset)
}
fn stp_pre(a: u32, b: u32, offset: i32) -> u32 {
    pair(0xa980_0000, a, b, SP, offset)
}
fn ldp_post(a: u32, b: u32, offset: i32) -> u32 {
    pair(0xa8c0_0000, a, b, SP, offset)
}
fn three(op: u32, d: u32, n: u32, m: u32) -> u32 {
    op | m << 16 | n << 5 | d
}
fn add(d: u32, n: u32, m: u32) -> u32 {
    three(0x8b00_0000, d, n, m)
}
fn adds(d: u32, n: u32, m: u32) -> u32 {
    three(0xab00_0000, d, n, m)
}
fn subs(d: u32, n: u32, m: u32) -> u32 {
    three(0xeb00_0000, d, n, m)
}
fn cmp(n: u32, m: u32) -> u32 {
    subs(ZR, n, m)
}
fn cmp32_reg(n: u32, m: u32) -> u32 {
    three(0x6b00_0000, ZR, n, m)
}
fn orr(d: u32, n: u32, m: u32) -> u32 {
    three(0xaa00_0000, d, n, m)
}
fn tst(n: u32, m: u32) -> u32 {
    three(0xea00_0000, ZR, n, m)
}
fn lslv(d: u32, n: u32, m: u32) -> u32 {
    three(0x9ac0_2000, d, n, m)
}
fn udiv(d: u32, n: u32, m: u32) -> u32 {
    three(0x9ac0_0800, d, n, m)
}
fn madd(d: u32, n: u32, m: u32, a: u32) -> u32 {
    three(0x9b00_0000, d, n, m) | a << 10
}
fn msub(d: u32, n: u32, m: u32, a: u32) -> u32 {
    three(0x9b00_8000, d, n, m) | a << 10
}
fn mul(d: u32, n: u32, m: u32) -> u32 {
    madd(d, n, m, ZR)
}
fn smulh(d: u32, n: u32, m: u32) -> u32 {
    three(0x9b40_7c00, d, n, m)
}
fn extr(d: u32, n: u32, m: u32, low: u32) -> u32 {
    three(0x93c0_0000, d, n, m) | low << 10
}
fn csel(d: u32, n: u32, m: u32, condition: u32) -> u32 {
    three(0x9a80_0000, d, n, m) | condition << 12
}
fn add_imm(d: u32, n: u32, value: u32) -> u32 {
    0x9100_0000 | value << 10 | n << 5 | d
}
fn cmp32(n: u32, value: u32) -> u32 {
    0x7100_0000 | value << 10 | n << 5 | ZR
}
/// `and d, n, #1`.
fn and_1(d: u32, n: u32) -> u32 {
    0x9240_0000 | n << 5 | d
}
fn movz(d: u32, value: u32, shift: u32) -> u32 {
    0xd280_0000 | (shift / 16) << 21 | value << 5 | d
}
fn movk(d: u32, value: u32, shift: u32) -> u32 {
    0xf280_0000 | (shift / 16) << 21 | value << 5 | d
}
fn ldarb(t: u32, n: u32) -> u32 {
    0x08df_fc00 | n << 5 | t
}
fn ldrb(t: u32, n: u32) -> u32 {
    0x3940_0000 | n << 5 | t
}
fn adr(d: u32) -> u32 {
    0x1000_0000 | d
}
fn cbz(t: u32) -> u32 {
    0xb400_0000 | t
}
fn cbnz32(t: u32) -> u32 {
    0x3500_0000 | t
}
/// `tbnz t, #0`.
fn tbnz0(t: u32) -> u32 {
    0x3700_0000 | t
}
fn b_if(condition: u32) -> u32 {
    0x5400_0000 | condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_an_assembler() {
        // As `aarch64-linux-gnu-as` makes them of the text at the right.
        for (word, text) in [
            (stp_pre(29, 30, -32), 0xa9be_7bfd_u32), // stp x29, x30, [sp, #-32]!
            (ldp_post(29, 30, 48), 0xa8c3_7bfd),     // ldp x29, x30, [sp], #48
            (stp(0, 1, SP, 16), 0xa901_07e0),        // stp x0, x1, [sp, #16]
            (ldp(10, 1, SP, 16), 0xa941_07ea),       // ldp x10, x1, [sp, #16]
            (ldp(9, 11, 4, 32), 0xa942_2c89),        // ldp x9, x11, [x4, #32]
            (cmp32(10, 11), 0x7100_2d5f),            // cmp w10, #11
            (movz(12, 0xca00, 0), 0xd299_400c),      // mov x12, #0xca00
            (movk(12, 0x3b9a, 16), 0xf2a7_734c),     // movk x12, #0x3b9a, lsl #16
            (lslv(11, 11, 10), 0x9aca_216b),         // lsl x11, x11, x10
            (tst(11, 12), 0xea0c_017f),              // tst x11, x12
            (and_1(2, 15), 0x9240_01e2),             // and x2, x15, #1
            (madd(4, 2, 3, 14), 0x9b03_3844),        // madd x4, x2, x3, x14
            (msub(4, 3, 12, 2), 0x9b0c_8864),        // msub x4, x3, x12, x2
            (smulh(8, 3, 6), 0x9b46_7c68),           // smulh x8, x3, x6
            (mul(7, 3, 6), 0x9b06_7c67),             // mul x7, x3, x6
            (extr(7, 8, 7, 32), 0x93c7_8107),        // extr x7, x8, x7, #32
            (csel(3, 3, ZR, PL), 0x9a9f_5063),       // csel x3, x3, xzr, pl
            (csel(3, 3, 9, LE), 0x9a89_d063),        // csel x3, x3, x9, le
            (udiv(3, 2, 12), 0x9acc_0843),           // udiv x3, x2, x12
            (adds(2, 2, 7), 0xab07_0042),            // adds x2, x2, x7
            (subs(3, 2, 7), 0xeb07_0043),            // subs x3, x2, x7
            (cmp(2, 8), 0xeb08_005f),                // cmp x2, x8
            (cmp32_reg(12, 15), 0x6b0f_019f),        // cmp w12, w15
            (orr(2, 5, 6), 0xaa06_00a2),             // orr x2, x5, x6
            (add_imm(1, SP, 32), 0x9100_83e1),       // add x1, sp, #32
            (ldarb(15, 16), 0x08df_fe0f),            // ldarb w15, [x16]
            (ldrb(12, 16), 0x3940_020c),             // ldrb w12, [x16]
        ] {
            assert_eq!(word, text, "{word:#x} {text:#x}");
        }
        assert_eq!(branch(b_if(NE), 0x100, 0xf0), 0x54ff_ff81); // b.ne -16
        assert_eq!(branch(cbz(8), 0, 12), 0xb400_0068); // cbz x8, 12
        assert_eq!(branch(tbnz0(7), 0, 8), 0x3700_0047); // tbnz w7, #0, 8
        assert_eq!(branch(adr(14), 0, 0x105), 0x3000_082e); // adr x14, 0x105
        assert_eq!(branch(BL, 0x40, 0x20), 0x97ff_fff8); // bl -32
    }

    #[test]
    fn the_stub_is_whole() {
        let stub = Arm.stub();
        assert_eq!(stub.entries[0].1, HEAD + WORD);
        for (_, entry) in &stub.entries {
            assert_eq!(word_at(&stub.bytes, entry - WORD), Some(CHECKS));
        }
        assert_eq!((stub.bytes.len() - stub.params, stub.params - stub.counter), (192, 8));
        assert!(stub.bytes.len() < 640, "{}", stub.bytes.len());
        let last = word_at(&stub.bytes, stub.counter - 4).unwrap();
        assert!(last == RET || word_at(&stub.bytes, stub.counter - 8) == Some(RET));
    }

    #[test]
    fn first_instructions_are_moved() {
        let image = |words: &[u32]| {
            let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            bytes.resize(0x3000, 0);
            bytes
        };
        let words = |bytes: Vec<u8>| -> Vec<u32> {
            bytes.chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
        };
        // bti c; adrp x2, +2 pages; ret
        let bytes = image(&[LANDING, 0xd000_0002, RET]);
        let patched = Arm.patched(&bytes, &(0..12));
        assert_eq!(patched, 4..8);
        let moved = words(Arm.moved(&bytes, &(0..12), &patched, 0x2100).unwrap());
        // From page 2 the same page is no page away.
        assert_eq!(moved, [LANDING, 0x9000_0002, branch(B, 0x2108, 8)]);
        // paciasp; cmp w0, #15; autiasp; ret: as Debian builds it for 6.1. Signed before the jump, checked behind it; the copy
        // signs for itself.
        let bytes = image(&[SIGNS, 0x7100_3c1f, CHECKS, RET]);
        let patched = Arm.patched(&bytes, &(0..16));
        assert_eq!((patched.clone(), Arm.entry(&bytes, &(0..16), 0x84)), (4..8, 0x80));
        let moved = words(Arm.moved(&bytes, &(0..16), &patched, 0x100).unwrap());
        assert_eq!(moved, [SIGNS, 0x7100_3c1f, branch(B, 0x108, 8)]);
        // bti c; paciasp: not signed yet.
        let bytes = image(&[LANDING, SIGNS, CHECKS, RET]);
        let patched = Arm.patched(&bytes, &(0..16));
        assert_eq!((patched.clone(), Arm.entry(&bytes, &(0..16), 0x84)), (4..8, 0x84));
        let moved = words(Arm.moved(&bytes, &(0..16), &patched, 0x100).unwrap());
        assert_eq!(moved, [LANDING, SIGNS, branch(B, 0x108, 8)]);
        assert_eq!(
            (plain(0x002b_ffff_8000_0010), plain(0xffff_8000_0010)),
            (0xffff_8000_0010, 0xffff_8000_0010)
        );
        // cmp w0, #15 is the same everywhere.
        let bytes = image(&[0x7100_3c1f, RET]);
        let moved = words(Arm.moved(&bytes, &(0..8), &(0..4), 0x100).unwrap());
        assert_eq!(moved, [0x7100_3c1f, branch(B, 0x104, 4)]);
        for (word, what) in [
            (0x1400_0003, "a branch"),
            (0x5400_0061, "a conditional branch"),
            (0xb400_0060, "a test and branch"),
            (0x5800_0041, "a literal"),
            (SIGNS_OTHERWISE, "signing"),
        ] {
            let why = Arm.moved(&image(&[word, RET]), &(0..8), &(0..4), 0x100).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
        // adr keeps its address: x0 = 0x10 seen from 0x100.
        assert_eq!(relocate(branch(adr(0), 0, 0x10), 0, 0x100), Ok(branch(adr(0), 0x100, 0x10)));
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[test]
    fn a_signal_frame_is_told_from_other_words() {
        let vdso = 0xffff_8000_0000..0xffff_8000_2000;
        let (state, record) = (0x6000_1000, 0x0210_4650_8001_u64);
        assert!(Interrupted::is(&[0xffff_8000_0010, state, 0, record], &vdso));
        // A handler's return address, and what happens to be behind it.
        assert!(!Interrupted::is(&[0xffff_8000_0010, 0, 0, 0], &vdso));
        assert!(!Interrupted::is(&[0xffff_8000_0010, state | 5, 0, record], &vdso));
        assert!(!Interrupted::is(&[0xffff_8000_2010, state, 0, record], &vdso));
        assert!(!Interrupted::is(&[0xffff_8000_0010, state, 0], &vdso));
    }
}
