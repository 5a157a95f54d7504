//! See `proxy::fuzzing::h2_frames`.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| proxy::fuzzing::h2_frames(bytes));
