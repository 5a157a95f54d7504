//! See `proxy::fuzzing::websocket`.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| proxy::fuzzing::websocket(bytes));
