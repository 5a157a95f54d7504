//! See `proxy::fuzzing::http_head`.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| proxy::fuzzing::http_head(bytes));
