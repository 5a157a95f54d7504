//! What callers of the API send: any JSON is read or refused.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(fault) = serde_json::from_slice::<model::Fault>(bytes) {
        let _ = (fault.problems(), fault.describe(), fault.inject_at(std::time::Duration::from_secs(1)));
        let back = serde_json::to_vec(&fault).and_then(|b| serde_json::from_slice::<model::Fault>(&b));
        assert_eq!(back.ok().as_ref().map(|f| &f.inject), Some(&fault.inject));
    }
    let _ = serde_json::from_slice::<model::Target>(bytes);
    let _ = serde_json::from_slice::<control::wire::Change>(bytes);
    let _ = serde_json::from_slice::<control::wire::StartRun>(bytes);
});
