//! Units, targets, matchers: what reads prints to something that reads the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use model::units::{ByteRate, EventRate, Percent, Size, Span};

fuzz_target!(|text: &str| {
    if let Ok(size) = text.parse::<Size>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    for def in model::catalogue::all() {
        for param in def.params {
            let _ = param.ty.parse(text);
        }
    }
    let _ = (text.parse::<Span>(), text.parse::<Percent>(), text.parse::<ByteRate>(), text.parse::<EventRate>());
    let _ = text.parse::<model::TargetRef>();
    let _ = model::matcher::Network::parse(text);
    if let Some((pattern, text)) = text.split_once('\n') {
        let _ = model::matcher::glob(pattern, text);
    }
});
