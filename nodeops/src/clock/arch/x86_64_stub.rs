//! The stub for x86-64, assembled into this program as data and never run here.
//!
//! Unsafe only for being assembly, and for taking its bytes.
#![allow(unsafe_code)]

use super::Stub;
use std::arch::global_asm;

// The stub. clock_gettime(id: edi, time: rsi): asks the vDSO's own function, then adds the skew. Only registers that a
// function may change are changed. The head (32 bytes) is filled in by whoever copies it.
//
// A set is read between two looks at the counter, so that a change in the middle of it is seen and the set read again:
// the writer fills the set that is not in use and then counts on.
global_asm!(
    ".pushsection .rodata.murphy_clock, \"a\"",
    ".balign 64",
    ".globl murphy_clock_start",
    "murphy_clock_start:",
    ".zero 32",
    ".globl murphy_clock_gettime",
    "murphy_clock_gettime:",
    "push rdi",
    "push rsi",
    "sub rsp, 8",
    ".globl murphy_clock_call",
    "murphy_clock_call:",
    // call rel32 with the distance to be filled in
    ".byte 0xe8, 0, 0, 0, 0",
    "add rsp, 8",
    "pop rsi",
    "pop rdi",
    "test eax, eax",
    "jne .Lmurphy_done",
    "cmp edi, 11",
    "ja .Lmurphy_done",
    // REALTIME 0, REALTIME_COARSE 5, REALTIME_ALARM 8
    "mov ecx, 0x121",
    "bt ecx, edi",
    "jc .Lmurphy_wall",
    // MONOTONIC 1, MONOTONIC_COARSE 6
    "mov ecx, 0x42",
    "bt ecx, edi",
    "jnc .Lmurphy_done",
    "mov r10d, 48",
    "jmp .Lmurphy_read",
    ".Lmurphy_wall:",
    "xor r10d, r10d",
    ".Lmurphy_read:",
    "movzx r11d, byte ptr [rip + murphy_clock_counter]",
    "mov ecx, r11d",
    "and ecx, 1",
    "imul ecx, ecx, 96",
    "lea r8, [rip + murphy_clock_params]",
    "add r8, r10",
    "add r8, rcx",
    "mov rax, [r8]",
    "or rax, [r8 + 8]",
    "jz .Lmurphy_true",
    "imul r9, qword ptr [rsi], 1000000000",
    "add r9, [rsi + 8]",
    // deadline
    "mov rax, [r8 + 24]",
    "test rax, rax",
    "jz .Lmurphy_open",
    "cmp r9, rax",
    "jge .Lmurphy_true",
    ".Lmurphy_open:",
    "mov rax, r9",
    "sub rax, [r8 + 16]",
    "jns .Lmurphy_began",
    "xor eax, eax",
    ".Lmurphy_began:",
    // strobe
    "mov rcx, [r8 + 40]",
    "test rcx, rcx",
    "jz .Lmurphy_steady",
    "mov rdi, rax",
    "xor edx, edx",
    "div rcx",
    "test al, 1",
    "mov rax, rdi",
    "jnz .Lmurphy_true",
    ".Lmurphy_steady:",
    // span
    "mov rcx, [r8 + 32]",
    "test rcx, rcx",
    "jz .Lmurphy_endless",
    "cmp rax, rcx",
    "cmovg rax, rcx",
    ".Lmurphy_endless:",
    "imul qword ptr [r8 + 8]",
    "shrd rax, rdx, 32",
    "add rax, [r8]",
    "cmp r11b, byte ptr [rip + murphy_clock_counter]",
    "jne .Lmurphy_read",
    "add r9, rax",
    "jns .Lmurphy_split",
    "xor r9d, r9d",
    ".Lmurphy_split:",
    "mov rax, r9",
    "xor edx, edx",
    "mov ecx, 1000000000",
    "div rcx",
    "mov [rsi], rax",
    "mov [rsi + 8], rdx",
    ".Lmurphy_true:",
    "xor eax, eax",
    ".Lmurphy_done:",
    "ret",
    // gettimeofday(time: rdi, zone: rsi); the zone is the kernel's to say
    ".globl murphy_clock_timeofday",
    "murphy_clock_timeofday:",
    "test rdi, rdi",
    "jz .Lmurphy_ask",
    "push rdi",
    "push rsi",
    "sub rsp, 24",
    "xor edi, edi",
    "mov rsi, rsp",
    "call murphy_clock_gettime",
    "mov r10, [rsp]",
    "mov rax, [rsp + 8]",
    "add rsp, 24",
    "pop rsi",
    "pop rdi",
    "mov [rdi], r10",
    "xor edx, edx",
    "mov ecx, 1000",
    "div rcx",
    "mov [rdi + 8], rax",
    "xor eax, eax",
    "test rsi, rsi",
    "jz .Lmurphy_told",
    "xor edi, edi",
    ".Lmurphy_ask:",
    "mov eax, 96",
    "syscall",
    ".Lmurphy_told:",
    "ret",
    // time(seconds: rdi)
    ".globl murphy_clock_time",
    "murphy_clock_time:",
    "push rdi",
    "sub rsp, 16",
    "xor edi, edi",
    "mov rsi, rsp",
    "call murphy_clock_gettime",
    "mov rax, [rsp]",
    "add rsp, 16",
    "pop rdi",
    "test rdi, rdi",
    "jz .Lmurphy_kept",
    "mov [rdi], rax",
    ".Lmurphy_kept:",
    "ret",
    ".balign 8",
    ".globl murphy_clock_counter",
    "murphy_clock_counter:",
    ".zero 8",
    ".globl murphy_clock_params",
    "murphy_clock_params:",
    ".zero 192",
    ".globl murphy_clock_end",
    "murphy_clock_end:",
    ".popsection",
);

unsafe extern "C" {
    static murphy_clock_start: u8;
    static murphy_clock_gettime: u8;
    static murphy_clock_timeofday: u8;
    static murphy_clock_time: u8;
    static murphy_clock_call: u8;
    static murphy_clock_counter: u8;
    static murphy_clock_params: u8;
    static murphy_clock_end: u8;
}

/// A copy of it, and where its parts begin.
pub(super) fn stub() -> Stub {
    let start = &raw const murphy_clock_start;
    let from_start = |at: *const u8| at as usize - start as usize;
    let length = from_start(&raw const murphy_clock_end);
    // SAFETY: start and end are labels around one read-only block of this program's own section, in that order, so
    // everything between them is initialised and lives as long as the program.
    let bytes = unsafe { std::slice::from_raw_parts(start, length) }.to_vec();
    Stub {
        bytes,
        entries: vec![
            (&["__vdso_clock_gettime"], from_start(&raw const murphy_clock_gettime)),
            (&["__vdso_gettimeofday"], from_start(&raw const murphy_clock_timeofday)),
            (&["__vdso_time"], from_start(&raw const murphy_clock_time)),
        ],
        call: from_start(&raw const murphy_clock_call),
        counter: from_start(&raw const murphy_clock_counter),
        params: from_start(&raw const murphy_clock_params),
    }
}
