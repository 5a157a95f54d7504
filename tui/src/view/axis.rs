//! Time to columns, the same for all plots and lanes of a panel.

/// The time axis of a panel: column 0 is the oldest, the last one is the newest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// The number of the newest column.
    pub last: i64,
    /// How many columns.
    pub width: u16,
    /// Seconds per column.
    pub zoom: i64,
}

impl Axis {
    /// The number of a column on the screen.
    pub fn number(self, x: u16) -> i64 {
        self.last - i64::from(self.width) + 1 + i64::from(x)
    }

    /// The columns that a time from..to covers, clipped; to the right edge when it has no end. None when it is outside.
    pub fn cover(self, from_ms: f64, to_ms: Option<f64>) -> Option<(u16, u16)> {
        let first = self.number(0);
        let column = |ms: f64| ((ms / 1000.0).floor() as i64).div_euclid(self.zoom.max(1)) - first;
        let from = column(from_ms).max(0);
        let to = match to_ms {
            Some(to) => (column(to) + 1).min(i64::from(self.width)),
            None => i64::from(self.width),
        };
        // What has just begun is shown in the newest column, before its first second is complete.
        let from = if to_ms.is_none() { from.min(i64::from(self.width) - 1) } else { from };
        (from < to).then_some((from as u16, to as u16))
    }

    /// Labels under the axis: column, and text.
    pub fn labels(self) -> Vec<(u16, String)> {
        let total = i64::from(self.width) * self.zoom;
        let wanted = i64::from(self.width / 16).clamp(1, 6);
        let step = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]
            .into_iter()
            .find(|s| total / s <= wanted)
            .unwrap_or(3600);
        let mut out = Vec::new();
        let mut back = step;
        while back < total {
            let x = i64::from(self.width) - 1 - back / self.zoom.max(1);
            if x >= 0 {
                out.push((x as u16, format!("-{}", super::text::seconds(back))));
            }
            back += step;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_columns() {
        let axis = Axis { last: 99, width: 50, zoom: 1 };
        assert_eq!((axis.number(0), axis.number(49)), (50, 99));
        assert_eq!(axis.cover(60_000.0, Some(70_500.0)), Some((10, 21)));
        assert_eq!(axis.cover(60_000.0, None), Some((10, 50)));
        assert_eq!(axis.cover(10_000.0, Some(20_000.0)), None);
        assert_eq!(axis.cover(10_000.0, Some(55_000.0)), Some((0, 6)));
        assert_eq!(axis.cover(100_400.0, None), Some((49, 50)));
        let axis = Axis { last: 9, width: 5, zoom: 10 };
        assert_eq!(axis.cover(61_000.0, Some(69_000.0)), Some((1, 2)));
    }
}
