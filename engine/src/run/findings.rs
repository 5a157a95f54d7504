//! Times: from the fault to its effect, and the two recoveries that are never mixed.
//!
//! A band is drawn from the seconds before the first fault: median ± the largest of four robust standard deviations
//! (1.4826 × MAD), a tenth of the median, and a floor per unit. Effect: the first of two consecutive seconds outside the
//! band after the last target acknowledged. Recovery: the first of two consecutive seconds inside it.

use super::windows::median;

/// Numbers second by second: (end of the second, value).
pub type Track = Vec<(f64, Option<f64>)>;

/// The range in which a number lay before the first fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    low: f64,
    high: f64,
}

/// What was found about one fault.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// From arming to effect.
    pub effect: Option<f64>,
    /// From effect to recovery while the fault was on.
    pub defence: Option<f64>,
    /// From its removal to recovery after it.
    pub healing: Option<f64>,
}

impl Band {
    /// From the values before the first fault; none with fewer than three. `floor` is the smallest half width.
    pub fn of(before: &[f64], floor: f64) -> Option<Band> {
        if before.len() < 3 {
            return None;
        }
        let middle = median(before.to_vec())?;
        let mad = median(before.iter().map(|v| (v - middle).abs()).collect())?;
        let half = (4.0 * 1.4826 * mad).max(middle.abs() * 0.1).max(floor);
        Some(Band { low: middle - half, high: middle + half })
    }

    fn holds(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The times of a fault that was acknowledged at `armed` and verified gone at `ended`, in one track.
pub fn times(track: &Track, band: Band, armed: f64, ended: f64, until: f64) -> Times {
    let second_of_two = |from: f64, to: f64, inside: bool| {
        let part: Vec<(f64, bool)> = track
            .iter()
            .filter(|(t, _)| *t > from && *t <= to)
            .filter_map(|(t, v)| v.map(|v| (*t, band.holds(v))))
            .collect();
        part.windows(2).find(|w| w[0].1 == inside && w[1].1 == inside).map(|w| w[0].0)
    };
    // The second in which a fault is armed holds a little of both; the one that follows its end too.
    let effect = second_of_two(armed, ended + 1.0, false);
    let defence = effect.and_then(|at| second_of_two(at, ended, true).map(|back| back - at));
    let healing = effect.and_then(|_| second_of_two(ended, until, true).map(|back| back - ended));
    Times { effect: effect.map(|at| at - armed), defence, healing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(values: &[f64]) -> Track {
        values.iter().enumerate().map(|(i, v)| ((i + 1) as f64, Some(*v))).collect()
    }

    #[test]
    fn effect_and_both_recoveries() {
        // Ten quiet seconds, armed at 10, bad from 12, better from 16 although still armed, gone at 20.
        let mut values = vec![20.0, 21.0, 19.0, 20.0, 20.0, 21.0, 20.0, 19.0, 20.0, 20.0];
        values.extend([20.0, 120.0, 130.0, 125.0, 120.0, 21.0, 20.0, 20.0, 20.0, 20.0]);
        values.extend([20.0; 5]);
        let track = track(&values);
        let band = Band::of(&values[..10], 1.0).unwrap();
        let found = times(&track, band, 10.0, 20.0, 25.0);
        assert_eq!(found, Times { effect: Some(2.0), defence: Some(4.0), healing: Some(1.0) });
    }

    #[test]
    fn what_never_showed_is_never_seen() {
        let values = [20.0; 25];
        let band = Band::of(&values[..10], 1.0).unwrap();
        assert_eq!(times(&track(&values), band, 10.0, 20.0, 25.0), Times::default());
        assert_eq!(Band::of(&[1.0, 2.0], 1.0), None);
    }

    #[test]
    fn one_odd_second_is_no_effect() {
        let mut values = vec![20.0; 25];
        values[13] = 500.0;
        let band = Band::of(&values[..10], 1.0).unwrap();
        assert_eq!(times(&track(&values), band, 10.0, 20.0, 25.0).effect, None);
    }
}
