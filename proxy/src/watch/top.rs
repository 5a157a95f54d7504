//! Who asks most, in bounded memory: the Space-Saving algorithm (Metwally, Agrawal, El Abbadi: Efficient computation of
//! frequent and top-k elements in data streams, 2005) over two windows.

use model::Talker;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many are told apart at a time. Whoever makes more than one in so many requests is surely among them.
const KEPT: usize = 256;
/// How long a window is; what is told covers the one before and what there is of this one.
const WINDOW: Duration = Duration::from_secs(10);
/// Longer names are cut.
const LONGEST: usize = 160;

/// The most frequent keys of the last ten to twenty seconds.
pub(crate) struct Top {
    windows: [Window; 2],
    since: Instant,
    /// Whether the first window is a whole one.
    whole: bool,
}

#[derive(Default)]
struct Window(HashMap<String, Count>);

#[derive(Clone, Copy, Default)]
struct Count {
    requests: u64,
    over: u64,
    errors: u64,
    bytes: u64,
}

impl Top {
    /// Nothing counted yet.
    pub(crate) fn new(now: Instant) -> Top {
        Top { windows: Default::default(), since: now, whole: false }
    }

    /// Counts a request.
    pub(crate) fn count(&mut self, key: &str, failed: bool, bytes: u64, now: Instant) {
        self.turn(now);
        let count = self.windows[1].entry(cut(key));
        count.requests += 1;
        count.errors += u64::from(failed);
        count.bytes += bytes;
    }

    /// The first `most` of them, the most frequent first.
    pub(crate) fn list(&mut self, most: usize, now: Instant) -> Vec<Talker> {
        self.turn(now);
        let span =
            now.saturating_duration_since(self.since) + if self.whole { WINDOW } else { Duration::ZERO };
        let seconds = span.as_secs_f64().max(1.0);
        let mut all: HashMap<&str, Count> = HashMap::new();
        for (key, count) in self.windows.iter().flat_map(|w| &w.0) {
            let sum = all.entry(key).or_default();
            sum.requests += count.requests;
            sum.over += count.over;
            sum.errors += count.errors;
            sum.bytes += count.bytes;
        }
        let mut list: Vec<Talker> = all
            .into_iter()
            .map(|(key, c)| Talker {
                key: key.to_owned(),
                requests: c.requests,
                per_second: c.requests as f64 / seconds,
                errors: c.errors,
                bytes_down: c.bytes,
                at_most_over: c.over,
            })
            .collect();
        list.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.key.cmp(&b.key)));
        list.truncate(most);
        list
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        self.windows.swap(0, 1);
        self.windows[1].0.clear();
        self.whole = true;
        self.since += WINDOW;
        if passed >= WINDOW * 2 {
            self.windows[0].0.clear();
            self.since = now;
        }
    }
}

impl Window {
    /// The count of a key; when all places are taken it inherits that of the rarest.
    fn entry(&mut self, key: &str) -> &mut Count {
        if !self.0.contains_key(key) {
            let mut count = Count::default();
            if self.0.len() >= KEPT
                && let Some(rarest) = self.0.iter().min_by_key(|(_, c)| c.requests).map(|(k, _)| k.clone())
                && let Some(gone) = self.0.remove(&rarest)
            {
                count = Count { requests: gone.requests, over: gone.requests, ..Count::default() };
            }
            self.0.insert(key.to_owned(), count);
        }
        self.0.entry(key.to_owned()).or_default()
    }
}

fn cut(key: &str) -> &str {
    match key.char_indices().nth(LONGEST) {
        Some((at, _)) => &key[..at],
        None => key,
    }
}

/// A method and a path in which numbers and ids are `*`, so that one route is one key.
pub(crate) fn route(method: &str, path: &str) -> String {
    let mut out = String::with_capacity(method.len() + path.len() + 1);
    out.push_str(method);
    out.push(' ');
    for (i, part) in path.split('/').enumerate() {
        if i > 0 {
            out.push('/');
        }
        out.push_str(if is_id(part) { "*" } else { part });
    }
    out
}

/// Numbers, UUIDs, hashes: what has a digit in it and otherwise hexadecimal digits and dashes alone, or is all digits.
fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hex = part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    digits > 0 && (digits == part.len() || (hex && part.len() >= 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_leave_out_what_is_an_id() {
        for (path, want) in [
            ("/", "GET /"),
            ("/cart/17/items", "GET /cart/*/items"),
            ("/u/0b8f4f1e-7a4e-4a52-9c39-0f3f5e0a6a5b", "GET /u/*"),
            ("/v2/face", "GET /v2/face"),
            ("/blob/deadbeef01", "GET /blob/*"),
        ] {
            assert_eq!(route("GET", path), want);
        }
    }

    #[test]
    fn the_frequent_ones_are_found_among_many() {
        let start = Instant::now();
        let mut top = Top::new(start);
        for i in 0..20_000_u64 {
            top.count(&format!("rare {i}"), false, 0, start);
            if i % 4 == 0 {
                top.count("often", i % 8 == 0, 10, start);
            }
        }
        let list = top.list(3, start + Duration::from_secs(5));
        assert_eq!(list[0].key, "often");
        assert!(list[0].requests >= 5000 && list[0].requests - list[0].at_most_over <= 5000, "{:?}", list[0]);
        assert!(top.windows[1].0.len() <= KEPT);
    }

    #[test]
    fn rates_are_those_of_the_last_windows() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut top = Top::new(start);
        for s in 0..15 {
            (0..10).for_each(|_| top.count("a", false, 1, at(s)));
        }
        let list = top.list(9, at(15));
        assert_eq!((list[0].requests, list[0].bytes_down), (150, 150));
        assert!((list[0].per_second - 10.0).abs() < 0.01);
        assert_eq!(top.list(9, at(25))[0].requests, 50);
        assert!(top.list(9, at(60)).is_empty());
    }
}
