//! Packets and frames from a network: read, matched against filters, mended; nothing that comes in hurts.
#![no_main]
use libfuzzer_sys::fuzz_target;
use nodeops::network::filter::{Filter, Way};
use nodeops::network::packet;
use std::collections::BTreeMap;

fuzz_target!(|bytes: &[u8]| {
    packet::ip_in_frame(bytes);
    let mut own = bytes.to_vec();
    if packet::repair(&mut own) {
        // What is right once is right.
        let before = own.clone();
        packet::repair(&mut own);
        assert_eq!(before, own);
    }
    let Some(parsed) = packet::parse(bytes) else { return };
    let all = Filter::default().resolve(&BTreeMap::new());
    for way in [Way::Out, Way::In, Way::Either] {
        assert_eq!(all.hits(&parsed, way), !parsed.neighbour);
    }
});
