//! The bounds of a run's metrics, as far as they belong into one of the plots.

use model::units::{EventRate, Percent, Span};

/// What is plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plotted {
    /// Latency in milliseconds, at this quantile in percent.
    Latency(u8),
    /// Failed requests in percent.
    Errors,
    /// Requests per second.
    Rate,
}

/// A bound that can be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The metric's name.
    pub metric: String,
    /// The target it is about; none means all traffic.
    pub target: Option<String>,
    /// Where it is drawn.
    pub plotted: Plotted,
    /// The value, in the plot's unit.
    pub value: f64,
    /// Values must stay below it (`<`), otherwise above.
    pub below: bool,
}

impl Bound {
    /// From how the event names it: `proxy:cart latency p99` and `< 800ms`.
    pub fn parse(metric: &str, source: &str, expect: &str) -> Option<Bound> {
        let mut target = None;
        let mut plotted = None;
        let mut success = false;
        for word in source.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty()) {
            match word.trim_end_matches(':') {
                "latency" => plotted = plotted.or(Some(Plotted::Latency(99))),
                "p50" | "median" => plotted = Some(Plotted::Latency(50)),
                "p90" => plotted = Some(Plotted::Latency(90)),
                "p95" => plotted = Some(Plotted::Latency(95)),
                "p99" => plotted = Some(Plotted::Latency(99)),
                "errors" | "error" | "error_share" | "error_rate" => plotted = Some(Plotted::Errors),
                "success" | "availability" => {
                    plotted = Some(Plotted::Errors);
                    success = true;
                }
                "rate" | "requests" | "throughput" => plotted = plotted.or(Some(Plotted::Rate)),
                word if word.contains(':') => target = Some(word.to_owned()),
                _ => {}
            }
        }
        let plotted = plotted?;
        let expect = expect.trim();
        let number = expect.trim_start_matches(['<', '>', '=', ' ']);
        let mut below = expect.starts_with('<');
        if !below && !expect.starts_with('>') {
            return None;
        }
        let mut value = match plotted {
            Plotted::Latency(_) => number.parse::<Span>().ok()?.as_millis_f64(),
            Plotted::Errors => match number.parse::<Percent>() {
                Ok(p) => p.value(),
                Err(_) => number.parse::<f64>().ok()? * 100.0,
            },
            Plotted::Rate => match number.parse::<EventRate>() {
                Ok(r) => r.value(),
                Err(_) => number.parse().ok()?,
            },
        };
        if success {
            (value, below) = (100.0 - value, !below);
        }
        value.is_finite().then(|| Bound { metric: metric.to_owned(), target, plotted, value, below })
    }

    /// Whether a value keeps it.
    pub fn holds(&self, value: f64) -> bool {
        if self.below { value < self.value } else { value > self.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(source: &str, expect: &str) -> Option<(Plotted, f64, bool)> {
        Bound::parse("m", source, expect).map(|b| (b.plotted, b.value, b.below))
    }

    #[test]
    fn what_can_be_drawn() {
        assert_eq!(parsed("proxy:cart latency p99", "< 800ms"), Some((Plotted::Latency(99), 800.0, true)));
        assert_eq!(parsed("proxy:cart latency p50", "<= 1.5s"), Some((Plotted::Latency(50), 1500.0, true)));
        assert_eq!(parsed("proxy:cart errors", "< 3%"), Some((Plotted::Errors, 3.0, true)));
        assert_eq!(parsed("load users success", ">= 99%"), Some((Plotted::Errors, 1.0, true)));
        assert_eq!(parsed("proxy:cart rate", "> 50/s"), Some((Plotted::Rate, 50.0, false)));
        assert_eq!(parsed("command ./count.sh", "increasing"), None);
        assert_eq!(parsed("proxy:cart latency p99", "change < 50%"), None);
        assert_eq!(
            Bound::parse("m", "proxy:cart errors", "< 1%").unwrap().target.as_deref(),
            Some("proxy:cart")
        );
    }
}
