//! Offsets and drifts, as the programs themselves see them.

use super::tellers::{self, Reading, Teller, skew_ms, vdso};
use crate::ground::{Agent, is_root, need};
use std::time::Duration;

/// A tight bound is measured again when the machine was busy.
const TRIES: usize = 5;

#[test]
fn programs_see_an_offset_to_the_millisecond_and_a_drift_to_half_a_percent() {
    if !need("root, to change other programs' clocks", is_root()) {
        return;
    }
    let agent = Agent::start(&[]);
    let mut all = tellers::all();
    assert!(!all.is_empty());
    let before: Vec<Vec<u8>> = all.iter().map(|t| vdso(t.pid())).collect();
    let arm = |all: &[Box<dyn Teller>], words: &str| -> Vec<String> {
        all.iter().map(|t| agent.arm(&format!("process:{} clock {words} for=120s", t.pid()))).collect()
    };
    let end = |ids: &[String]| {
        for id in ids {
            assert_eq!(agent.disarm(id), (1, 1));
        }
    };
    // Ahead by an odd number, so that nothing else can be taken for it.
    let ids = arm(&all, "offset=3723.25s");
    for teller in &mut all {
        let is = |ms: &f64| (ms - 3_723_250.0).abs() < 1.0;
        let seen = (0..TRIES).map(|_| skew_ms(&mut **teller)).inspect(|ms| eprintln!("offset {ms}"));
        let seen: Vec<f64> =
            seen.scan(false, |done, ms| (!std::mem::replace(done, is(&ms))).then_some(ms)).collect();
        assert!(is(seen.last().unwrap()), "{}: {seen:?} ms of 3723250", teller.name());
    }
    end(&ids);
    for (teller, before) in all.iter_mut().zip(&before) {
        let seen = skew_ms(&mut **teller);
        assert!(seen.abs() < 20.0, "{}: {seen} ms after the end", teller.name());
        assert!(vdso(teller.pid()) == *before, "{}: another vDSO than before", teller.name());
    }
    // All drift at the same time, and are looked at one after another.
    let ids = arm(&all, "drift=10%");
    all.iter_mut().for_each(|t| t.afresh());
    let first: Vec<Reading> = all.iter_mut().map(|t| Reading::best(&mut **t, 9)).collect();
    std::thread::sleep(Duration::from_secs(10));
    for (teller, first) in all.iter_mut().zip(first) {
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            let last = Reading::best(&mut **teller, 9);
            let drift = (last.ms() - first.ms()) * 1e6 / (last.at - first.at) as f64;
            eprintln!("{}: drift {drift}", teller.name());
            seen.push(drift);
            if (drift / 0.1 - 1.0).abs() < 0.005 {
                break;
            }
        }
        let last = seen.last().unwrap();
        assert!((last / 0.1 - 1.0).abs() < 0.005, "{}: {seen:?} of 0.1", teller.name());
    }
    end(&ids);
    for (teller, before) in all.iter().zip(&before) {
        assert!(vdso(teller.pid()) == *before, "{}: another vDSO than before", teller.name());
    }
}
