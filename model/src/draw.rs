//! Decisions that can be repeated: a draw is a pure function of a seed and an ordinal.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014),
//! used as a hash of (seed, ordinal, lane), so that draw number one million needs none of those before it.

/// One independent stream of draws per purpose, so that whether a fault applies says nothing about how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Whether the ordinal gets the fault.
    Share,
    /// How much of it.
    Amount,
    /// Any further use, numbered.
    Other(u16),
}

/// 64 uniform bits for ordinal `n` of a stream.
pub fn bits(seed: u64, lane: Lane, n: u64) -> u64 {
    let lane = match lane {
        Lane::Share => 1,
        Lane::Amount => 2,
        Lane::Other(k) => 16 + u64::from(k),
    };
    mix(mix(seed ^ lane.wrapping_mul(0xA076_1D64_78BD_642F))
        .wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// A number in 0.0..1.0 for ordinal `n`, with 53 random bits.
pub fn unit(seed: u64, lane: Lane, n: u64) -> f64 {
    (bits(seed, lane, n) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The seed of something named inside something seeded: a fault's from its experiment's. FNV-1a over the name, mixed.
pub fn derive(seed: u64, name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    mix(seed ^ mix(hash))
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_and_independent_of_lane() {
        let n = 100_000;
        let mean = (0..n).map(|i| unit(7, Lane::Share, i)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let both =
            (0..n).filter(|i| unit(7, Lane::Share, *i) < 0.3 && unit(7, Lane::Amount, *i) < 0.3).count();
        assert!((both as f64 / n as f64 - 0.09).abs() < 0.005, "{both}");
        assert_ne!(derive(1, "a"), derive(1, "b"));
        assert_eq!(unit(9, Lane::Amount, 12), unit(9, Lane::Amount, 12));
    }
}
