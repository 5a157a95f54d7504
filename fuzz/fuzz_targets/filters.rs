//! Filters as people write them: networks, names, ports. What is read says the same when it is written and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use nodeops::network::filter::{Net, peers, ports};

fuzz_target!(|text: &str| {
    let _ = peers("peer", text);
    if let Ok(all) = ports("port", text) {
        let again: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(ports("port", &again.join(",")).unwrap(), all);
    }
    if let Some(net) = Net::parse(text) {
        assert_eq!(Net::parse(&net.to_string()), Some(net));
        assert!(net.contains(net.address()));
    }
});
