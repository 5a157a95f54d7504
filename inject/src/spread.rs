//! How late: a delay, a spread around it and its distribution; and draws that resemble the one before.
//!
//! Each distribution is given by its quantile function, so that one uniform number per chunk decides. Correlated draws
//! walk in the normal domain (an AR(1) process under the bell, known as a Gaussian copula) and come back as uniform
//! numbers: neighbours are alike, and how often each value comes is what was asked for. netem mixes the draws
//! themselves, which changes the distribution.

use crate::knob::{Dials, Knob};
use model::{Problem, Value, draw};
use std::sync::Arc;
use std::time::Duration;

/// The parameters `delay`, `jitter`, and, where a fault has them, `distribution` and `table`.
#[derive(Debug, Clone)]
pub struct Spread {
    delay: Knob,
    jitter: Knob,
    shape: Shape,
}

#[derive(Debug, Clone)]
enum Shape {
    Uniform,
    Normal,
    Pareto,
    ParetoNormal,
    /// Seconds, all equally likely.
    Table(Arc<[f64]>),
}

impl Spread {
    /// Reads the parameters.
    pub fn read(dials: &Dials<'_>) -> Result<Spread, Problem> {
        let zero = Knob::fixed(0.0);
        let table = match dials.fixed().get("table") {
            Some(Value::Spans(spans)) => {
                Some(spans.iter().map(|s| s.0.as_secs_f64()).collect::<Arc<[f64]>>())
            }
            _ => None,
        };
        let shape = match (dials.fixed().text("distribution"), table) {
            (Some("table"), Some(table)) if !table.is_empty() => Shape::Table(table),
            (Some("table"), _) => {
                return Err(Problem::new("distribution=table has no table")
                    .hint("add the delays to draw from, such as table=1ms,1ms,2ms,40ms"));
            }
            (_, Some(_)) => {
                return Err(
                    Problem::new("the table is not used").hint("add distribution=table, or leave it out")
                );
            }
            (Some("normal"), None) => Shape::Normal,
            (Some("pareto"), None) => Shape::Pareto,
            (Some("paretonormal"), None) => Shape::ParetoNormal,
            _ => Shape::Uniform,
        };
        Ok(Spread {
            delay: dials.knob("delay")?.unwrap_or(zero),
            jitter: dials.knob("jitter")?.unwrap_or(zero),
            shape,
        })
    }

    /// Whether the spread is even and needs no table.
    pub fn is_uniform(&self) -> bool {
        matches!(self.shape, Shape::Uniform)
    }

    /// Drawn from (seed, n).
    pub fn draw(&self, seed: u64, n: u64, elapsed: Duration) -> Duration {
        self.quantile(draw::unit(seed, draw::Lane::Amount, n), elapsed)
    }

    /// The delay at that place of the distribution, 0.0..1.0; never below zero.
    pub fn quantile(&self, u: f64, elapsed: Duration) -> Duration {
        let (delay, jitter) = (self.delay.at(elapsed), self.jitter.at(elapsed));
        let off = match &self.shape {
            Shape::Table(table) => table[((u * table.len() as f64) as usize).min(table.len() - 1)],
            _ if jitter == 0.0 => 0.0,
            Shape::Uniform => jitter * (2.0 * u - 1.0),
            Shape::Normal => jitter * normal_quantile(u),
            Shape::Pareto => jitter * pareto_quantile(u),
            // As netem's table of that name: a quarter of the one, three quarters of the other.
            Shape::ParetoNormal => jitter * (0.25 * normal_quantile(u) + 0.75 * pareto_quantile(u)),
        };
        Duration::try_from_secs_f64((delay + off).max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// Draws of one stream, each like the one before as far as the correlation says.
#[derive(Debug, Clone)]
pub struct Walk {
    correlation: f64,
    last: Option<f64>,
}

impl Walk {
    /// The parameter `correlation`; none when the fault has none.
    pub fn read(dials: &Dials<'_>) -> Walk {
        let correlation = dials.fixed().percent("correlation").map_or(0.0, |p| p.fraction());
        Walk { correlation, last: None }
    }

    /// With that correlation, 0.0..=1.0.
    pub fn with(correlation: f64) -> Walk {
        Walk { correlation, last: None }
    }

    /// Takes a fresh uniform number and gives the one to use, uniform as well.
    pub fn step(&mut self, fresh: f64) -> f64 {
        if self.correlation == 0.0 {
            return fresh;
        }
        let z = normal_quantile(fresh);
        let rho = self.correlation;
        let z = self.last.map_or(z, |last| rho * last + (1.0 - rho * rho).sqrt() * z);
        self.last = Some(z);
        normal_share(z)
    }
}

/// Pareto with shape 3, shifted and scaled to mean 0 and standard deviation 1: most a little early, a few very late.
fn pareto_quantile(u: f64) -> f64 {
    ((1.0 - u.min(1.0 - 1e-16)).powf(-1.0 / 3.0) - 1.5) / 0.75_f64.sqrt()
}

/// The standard normal quantile by Acklam's rational approximation, relative error below 1.2e-9.
fn normal_quantile(u: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let fold = |k: &[f64], x: f64| k.iter().fold(0.0, |sum, c| sum * x + c);
    let u = u.clamp(1e-17, 1.0 - 1e-16);
    let tail = |q: f64| fold(&C, q) / (fold(&D, q) * q + 1.0);
    if u < 0.02425 {
        tail((-2.0 * u.ln()).sqrt())
    } else if u > 1.0 - 0.02425 {
        -tail((-2.0 * (1.0 - u).ln()).sqrt())
    } else {
        let q = u - 0.5;
        let r = q * q;
        fold(&A, r) * q / (fold(&B, r) * r + 1.0)
    }
}

/// The share of a standard normal below z: half of erfc(-z/√2), by the Chebyshev fit in Numerical Recipes (2nd ed., 6.2),
/// relative error below 1.2e-7.
fn normal_share(z: f64) -> f64 {
    const K: [f64; 10] = [
        0.17087277,
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    ];
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let erfc = t * (-x * x + K.iter().fold(0.0, |sum, k| sum * t + k)).exp();
    if z < 0.0 { 0.5 * erfc } else { 1.0 - 0.5 * erfc }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(params: &str) -> Result<Spread, Problem> {
        let json = format!(r#"{{"target":"proxy:a","for":"60s","inject":{{"latency":{params}}}}}"#);
        let fault: model::Fault = serde_json::from_str(&json).unwrap();
        Spread::read(&Dials::new(&fault))
    }

    const N: u64 = 20_000;

    fn draws(spread: &Spread, walk: &mut Walk) -> Vec<f64> {
        let one = |n| {
            let u = walk.step(draw::unit(11, draw::Lane::Amount, n));
            spread.quantile(u, Duration::ZERO).as_secs_f64() * 1e3
        };
        (0..N).map(one).collect()
    }

    /// The Kolmogorov–Smirnov distance between what was drawn and what was asked for.
    fn distance(mut drawn: Vec<f64>, share_below: impl Fn(f64) -> f64) -> f64 {
        drawn.sort_by(f64::total_cmp);
        let n = drawn.len() as f64;
        let gap = |(i, x): (usize, &f64)| {
            let want = share_below(*x);
            (want - i as f64 / n).abs().max(((i + 1) as f64 / n - want).abs())
        };
        drawn.iter().enumerate().map(gap).fold(0.0, f64::max)
    }

    // At 1.95/√n one in a thousand samples of the right distribution would fail; the seed is fixed, so none does.
    const LIMIT: f64 = 1.95 / 141.42;

    fn even() -> Walk {
        Walk { correlation: 0.0, last: None }
    }

    #[test]
    fn each_distribution_is_what_it_is_called() {
        let uniform = spread(r#"{"delay":"100ms","jitter":"40ms"}"#).unwrap();
        let d = distance(draws(&uniform, &mut even()), |x| ((x - 60.0) / 80.0).clamp(0.0, 1.0));
        assert!(d < LIMIT, "uniform: {d}");
        let normal = spread(r#"{"delay":"100ms","jitter":"20ms","distribution":"normal"}"#).unwrap();
        let d = distance(draws(&normal, &mut even()), |x| normal_share((x - 100.0) / 20.0));
        assert!(d < LIMIT, "normal: {d}");
        let pareto = spread(r#"{"delay":"100ms","jitter":"20ms","distribution":"pareto"}"#).unwrap();
        let d = distance(draws(&pareto, &mut even()), |x| {
            let p = (x - 100.0) / 20.0 * 0.75_f64.sqrt() + 1.5;
            if p < 1.0 { 0.0 } else { 1.0 - p.powi(-3) }
        });
        assert!(d < LIMIT, "pareto: {d}");
        let table = spread(r#"{"delay":"0s","distribution":"table","table":["1ms","1ms","40ms"]}"#).unwrap();
        let low = draws(&table, &mut even()).iter().filter(|x| **x == 1.0).count() as f64 / N as f64;
        assert!((low - 2.0 / 3.0).abs() < 0.014, "table: {low}");
    }

    #[test]
    fn correlation_makes_neighbours_alike_and_leaves_the_distribution() {
        let uniform = spread(r#"{"delay":"100ms","jitter":"40ms"}"#).unwrap();
        let drawn = draws(&uniform, &mut Walk { correlation: 0.8, last: None });
        let mean = drawn.iter().sum::<f64>() / N as f64;
        let var = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let co = drawn.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>();
        // Of uniform numbers under a Gaussian copula the correlation is 6/π·asin(ρ/2).
        let want = 6.0 / std::f64::consts::PI * (0.4_f64).asin();
        assert!((co / var - want).abs() < 0.03, "{} and not {want}", co / var);
        // Neighbours are alike, so the sample counts for fewer: (1-ρ²)/(1+ρ²) or so.
        let d = distance(drawn, |x| ((x - 60.0) / 80.0).clamp(0.0, 1.0));
        assert!(d < 3.0 * LIMIT, "{d}");
    }

    #[test]
    fn never_below_zero_and_tables_are_checked() {
        let wide = spread(r#"{"delay":"1ms","jitter":"100ms","distribution":"normal"}"#).unwrap();
        assert!(draws(&wide, &mut even()).iter().all(|x| *x >= 0.0));
        assert!(
            spread(r#"{"delay":"0s","distribution":"table"}"#).unwrap_err().to_string().contains("no table")
        );
        assert!(spread(r#"{"delay":"0s","table":"1ms"}"#).unwrap_err().to_string().contains("not used"));
    }

    #[test]
    fn quantile_and_share_are_inverse() {
        for i in 1..1000 {
            let u = f64::from(i) / 1000.0;
            assert!((normal_share(normal_quantile(u)) - u).abs() < 1e-6, "{u}");
        }
        assert!((normal_quantile(0.975) - 1.959_963_985).abs() < 1e-8);
        assert!(normal_quantile(0.0).is_finite() && pareto_quantile(1.0).is_finite());
    }
}
