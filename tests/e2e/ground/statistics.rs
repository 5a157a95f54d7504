use std::time::{Duration, Instant};

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median time of `n` calls in milliseconds.
pub fn median_ms(n: usize, mut call: impl FnMut()) -> f64 {
    let times = (0..n).map(|_| {
        let begin = Instant::now();
        call();
        begin.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// Whether `hits` of `n` is what a share of `p` gives, within 4.5 standard deviations (1 in 150,000 falls outside).
pub fn binomial_ok(hits: usize, n: usize, p: f64) -> bool {
    let (mean, sd) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    (hits as f64 - mean).abs() <= 4.5 * sd
}

/// Tries until it is true; false when it never was within the time.
pub fn eventually(within: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if is() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
