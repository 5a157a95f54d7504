//! What a changed clock shows: the numbers that the stub reads, and its arithmetic once more in Rust.
//!
//! The stub and [`Slot::skew_at`] must agree to the nanosecond: evidence is computed here from what lies in the target.

/// How many clocks have numbers of their own: the wall clocks, and the monotonic ones.
pub(super) const FAMILIES: usize = 2;
/// Bytes of one [`Slot`] in the target.
pub(super) const SLOT: usize = 48;
/// Bytes of a [`Set`] in the target.
pub(super) const SET: usize = FAMILIES * SLOT;

/// What one family of clocks shows. All times are nanoseconds of the clock itself, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slot {
    /// Added from the first moment on.
    pub offset: i64,
    /// Seconds too many for each true second, as a fixed-point number with 32 bits behind the point.
    pub rate: i64,
    /// Where drifting and strobing begin.
    pub base: i64,
    /// From here on the clock is right again, whatever became of us; 0: never.
    pub deadline: i64,
    /// Drifting goes on for so long; 0: without end.
    pub span: i64,
    /// Wrong for so long, right for so long, and so on; 0: wrong all the time.
    pub half: i64,
}

/// What all families show.
pub(super) type Set = [Slot; FAMILIES];

impl Slot {
    /// By how much the clock is wrong when the kernel's says `now`.
    pub fn skew_at(&self, now: i64) -> i64 {
        if (self.offset == 0 && self.rate == 0) || (self.deadline != 0 && now >= self.deadline) {
            return 0;
        }
        let mut elapsed = now.wrapping_sub(self.base).max(0);
        if self.half != 0 && (elapsed / self.half) % 2 == 1 {
            return 0;
        }
        if self.span != 0 {
            elapsed = elapsed.min(self.span);
        }
        self.offset.wrapping_add(((i128::from(elapsed) * i128::from(self.rate)) >> 32) as i64)
    }

    fn words(&self) -> [i64; 6] {
        [self.offset, self.rate, self.base, self.deadline, self.span, self.half]
    }
}

/// A rate as the stub wants it.
pub(super) fn fixed_point(rate: f64) -> i64 {
    (rate * 4_294_967_296.0).round() as i64
}

/// The set as it lies in the target.
pub(super) fn to_bytes(set: &Set) -> Vec<u8> {
    set.iter().flat_map(|slot| slot.words()).flat_map(i64::to_ne_bytes).collect()
}

/// Reads a set back; none when the bytes are too few.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Set> {
    let word = |i: usize| Some(i64::from_ne_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?));
    let slot = |at: usize| {
        Some(Slot {
            offset: word(at)?,
            rate: word(at + 1)?,
            base: word(at + 2)?,
            deadline: word(at + 3)?,
            span: word(at + 4)?,
            half: word(at + 5)?,
        })
    };
    Some([slot(0)?, slot(SLOT / 8)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn skew_is_offset_and_drift_until_the_deadline() {
        let slot = Slot {
            offset: 5 * S,
            rate: fixed_point(0.1),
            base: 100 * S,
            deadline: 120 * S,
            ..Slot::default()
        };
        assert_eq!(slot.skew_at(100 * S), 5 * S);
        assert!((slot.skew_at(110 * S) - 6 * S).abs() < 10);
        assert_eq!(slot.skew_at(120 * S), 0);
        // Before its base - the machine's clock was set back - it does not drift the other way.
        assert_eq!(slot.skew_at(0), 5 * S);
        let slow = Slot { rate: fixed_point(-0.5), base: 0, ..Slot::default() };
        assert_eq!(slow.skew_at(4 * S), -2 * S);
    }

    #[test]
    fn drifting_ends_with_its_span_and_strobing_alternates() {
        let ramp = Slot { rate: fixed_point(1.0), span: 2 * S, ..Slot::default() };
        assert_eq!((ramp.skew_at(S), ramp.skew_at(9 * S)), (S, 2 * S));
        let strobe = Slot { offset: -S, half: S / 2, ..Slot::default() };
        let seen: Vec<i64> = (0..4).map(|i| strobe.skew_at(i * S / 2 + 1)).collect();
        assert_eq!(seen, [-S, 0, -S, 0]);
    }

    #[test]
    fn bytes_read_back() {
        let set = [
            Slot { offset: -1, rate: 2, base: 3, deadline: 4, span: 5, half: 6 },
            Slot { offset: 7, ..Slot::default() },
        ];
        let bytes = to_bytes(&set);
        assert_eq!(bytes.len(), SET);
        assert_eq!(from_bytes(&bytes), Some(set));
        assert_eq!(from_bytes(&bytes[1..]), None);
    }
}
