//! What holds for every combination of faults, without sockets or clocks.

use super::bench::{Bench, armed};
use crate::chain::How;
use proptest::prelude::*;

/// Faults that change when bytes come, and never which.
const HARMLESS: &[&str] = &[
    "latency delay=7ms jitter=9ms",
    "latency delay=3ms jitter=2ms distribution=normal correlation=60%",
    "latency delay=0ms jitter=5ms distribution=pareto",
    "latency delay=1ms distribution=table table=1ms,5ms,30ms",
    "bandwidth rate=20kB/s",
    "bandwidth rate=30kB/s per=target",
    "slice size=13B variation=12B delay=100us",
    "slice size=0B variation=5B",
    "slow_close delay=20ms",
    "cut when=1h on=data",
    "limit_data bytes=1GB",
    "corrupt per_mb=0",
];

/// Faults that change which.
const HARMFUL: &[&str] = &[
    "corrupt per_mb=9000",
    "corrupt per_mb=5000 unit=bytes from=100B",
    "limit_data bytes=700B",
    "cut when=900B how=fin",
    "blackhole direction=down close_after=1s",
];

/// What comes out of a stream that is pushed in such pieces, one each millisecond, and when each byte came.
fn run(faults: &[&str], data: &[u8], pieces: &[usize]) -> (Vec<u8>, Vec<u64>) {
    let faults: Vec<_> = faults.iter().enumerate().map(|(i, words)| armed(words, i as u64)).collect();
    let mut b = Bench::new(&faults.iter().collect::<Vec<_>>());
    let (mut all, mut times, mut rest) = (Vec::new(), Vec::new(), data);
    let mut sizes = pieces.iter().cycle();
    for ms in 0..1500 {
        if !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            b.push_down_bytes(ms, piece);
            rest = after;
            if rest.is_empty() {
                b.end_down(ms, How::Fin);
            }
        }
        let came = b.pull_down_bytes(ms);
        times.extend(came.iter().map(|_| ms));
        all.extend(came);
    }
    (all, times)
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn pick(from: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(from), 0..=most)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1_usize..400, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_only_delays_loses_and_changes_nothing(faults in pick(HARMLESS, 4), pieces in pieces(), len in 1_usize..3000) {
        let (came, _) = run(&faults, &data(len), &pieces);
        prop_assert!(came == data(len), "{} of {len} with {faults:?}", came.len());
    }

    #[test]
    fn one_seed_is_one_outcome(some in pick(HARMLESS, 2), harm in pick(HARMFUL, 2), pieces in pieces()) {
        let faults = [some, harm].concat();
        prop_assert_eq!(run(&faults, &data(2000), &pieces), run(&faults, &data(2000), &pieces));
    }

    #[test]
    fn what_is_changed_or_cut_does_not_depend_on_the_pieces(harm in pick(HARMFUL, 2), a in pieces(), b in pieces()) {
        let (first, _) = run(&harm, &data(1500), &a);
        let (second, _) = run(&harm, &data(1500), &b);
        prop_assert!(first == second, "{} and {} with {harm:?}", first.len(), second.len());
    }
}
