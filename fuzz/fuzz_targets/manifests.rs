//! Manifests: any text passes, is changed, and is what it was again; twice is once.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pods::manifest::{Defaults, Outcome, inject, uninject};

fuzz_target!(|text: &str| {
    let defaults = Defaults { all: true, ..Defaults::default() };
    let once = inject(text, &defaults);
    let had = once.notes.iter().any(|n| matches!(n.what, Outcome::Injected(_) | Outcome::Rewritten(_)));
    if !had && uninject(text).notes.is_empty() {
        assert_eq!(once.text, text);
    }
    if once.notes.iter().any(|n| matches!(n.what, Outcome::Injected(_))) {
        let back = uninject(&once.text);
        assert!(back.notes.iter().any(|n| n.what == Outcome::Removed));
        assert_eq!(inject(&once.text, &defaults).text, once.text);
    }
});
