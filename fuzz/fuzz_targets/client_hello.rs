//! The first flight of a TLS client: anyone's bytes. What is understood of a whole is not disputed by a part of it, nor
//! by what follows it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use proxy::tls::{Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let half = parse(&bytes[..bytes.len() / 2]);
    match (&whole, &half) {
        (_, Parsed::More) => {}
        // What was clear of the half stays so.
        (whole, half) => assert_eq!(whole, half),
    }
    if let Parsed::Hello(hello) = &whole {
        let mut more = bytes.to_vec();
        more.extend_from_slice(b"more");
        assert_eq!(parse(&more), whole);
        assert!(hello.sni.as_ref().is_none_or(|name| name.is_ascii() && name.len() <= 255));
    }
});
