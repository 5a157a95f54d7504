//! Messages of the domain name system: queries read and answered, answers read.
#![no_main]
use libfuzzer_sys::fuzz_target;
use nodeops::network::dns_wire as wire;

fuzz_target!(|bytes: &[u8]| {
    let id = bytes.get(..2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    wire::answer(bytes, id);
    if let Some(query) = wire::query(bytes) {
        let reply = query.addresses(&["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()], 1);
        let found = wire::answer(&reply, query.id).expect("our own answer reads");
        assert_eq!(found.len(), usize::from(query.kind == wire::A || query.kind == wire::AAAA));
        assert_eq!(wire::answer(&query.reply(wire::REFUSED, true), query.id), None);
    }
});
