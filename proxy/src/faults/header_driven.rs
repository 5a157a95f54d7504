//! `header_driven`: requests ask for their own faults.

use super::throttle_body::Metered;
use super::{Act, Draw, Known, Point, RequestFault, given, grpc};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::headers::Headers;
use crate::http::hit::Hit;
use crate::http::message::{Answer, RequestHead};
use crate::http::stage::BodyStage;
use crate::knob::{Dials, Knob};
use bytes::Bytes;
use http::StatusCode;
use model::matcher::Facts;
use model::units::{ByteRate, Span};
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The headers of ours, and of Envoy's (its HTTP fault filter's documentation has their meaning).
const OURS: [&str; 3] = ["x-murphy-delay", "x-murphy-abort", "x-murphy-throttle"];
const ENVOY: &str = "x-envoy-fault-";
const ENVOYS: [&str; 7] = [
    "x-envoy-fault-delay-request",
    "x-envoy-fault-delay-request-percentage",
    "x-envoy-fault-abort-request",
    "x-envoy-fault-abort-grpc-request",
    "x-envoy-fault-abort-request-percentage",
    "x-envoy-fault-throughput-response",
    "x-envoy-fault-throughput-response-percentage",
];

struct HeaderDriven {
    ours: bool,
    envoys: bool,
    max_delay: Duration,
    min_rate: f64,
    mark: bool,
}

/// What a request asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Asked {
    delay: Option<Duration>,
    abort: Option<Abort>,
    /// Bytes per second.
    rate: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Abort {
    Status(StatusCode),
    Grpc(usize),
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let words = params.words("headers");
    Ok(Act::Request(Box::new(HeaderDriven {
        ours: words.iter().any(|w| w == "murphy"),
        envoys: words.iter().any(|w| w == "envoy"),
        max_delay: params.span("max_delay").unwrap_or_default(),
        min_rate: params.byte_rate("min_rate").map_or(1000.0, |r| r.value()).max(1.0),
        mark: params.flag("mark"),
    })))
}

impl HeaderDriven {
    fn asked(&self, facts: &dyn Facts, seed: u64) -> Asked {
        let mut asked = Asked::default();
        if self.ours {
            asked.delay = facts.header(OURS[0]).and_then(|v| v.parse::<Span>().ok()).map(|s| s.0);
            asked.abort = facts.header(OURS[1]).and_then(status).map(Abort::Status);
            asked.rate = facts.header(OURS[2]).and_then(|v| v.parse::<ByteRate>().ok()).map(|r| r.value());
        }
        if self.envoys {
            // A percentage of its own, drawn from whom it concerns alone, so that it can be repeated.
            let of = |what: &str, lane: u16| {
                let share = facts.header(&format!("{ENVOY}{what}-percentage"));
                let percent = share.map_or(100.0, |v| v.trim().parse().unwrap_or(0.0));
                draw::unit(seed, draw::Lane::Other(lane), 0) * 100.0 < percent
            };
            let value = |what: &str| facts.header(&format!("{ENVOY}{what}")).map(str::trim);
            if let Some(ms) =
                value("delay-request").and_then(|v| v.parse().ok()).filter(|_| of("delay-request", 1))
            {
                asked.delay = asked.delay.or(Some(Duration::from_millis(ms)));
            }
            let http = value("abort-request").and_then(status).map(Abort::Status);
            let grpc = value("abort-grpc-request")
                .and_then(|v| v.parse().ok())
                .filter(|c| *c <= 16)
                .map(Abort::Grpc);
            if let Some(abort) = http.or(grpc).filter(|_| of("abort-request", 2)) {
                asked.abort = asked.abort.or(Some(abort));
            }
            let kib = value("throughput-response").and_then(|v| v.parse::<f64>().ok()).filter(|k| *k > 0.0);
            if let Some(kib) = kib.filter(|_| of("throughput-response", 3)) {
                asked.rate = asked.rate.or(Some(kib * 1024.0));
            }
        }
        asked.delay = asked.delay.map(|d| d.min(self.max_delay));
        asked.rate = asked.rate.map(|r| r.max(self.min_rate));
        asked
    }
}

fn status(text: &str) -> Option<StatusCode> {
    text.trim()
        .parse()
        .ok()
        .filter(|n| (200..600).contains(n))
        .and_then(|n: u16| StatusCode::from_u16(n).ok())
}

impl RequestFault for HeaderDriven {
    fn is_for(&self, facts: &dyn Facts) -> bool {
        self.asked(facts, 0) != Asked::default()
            || self.envoys && ENVOYS.iter().any(|name| facts.header(name).is_some())
    }

    fn note(&self, facts: &dyn Facts, seed: u64, ordinal: u64) -> Option<Asked> {
        Some(self.asked(facts, draw::bits(seed, draw::Lane::Amount, ordinal)))
    }

    fn hold(&self, point: Point, draw: &Draw<'_>) -> Option<Duration> {
        draw.asked.filter(|_| point == Point::Request)?.delay
    }

    fn answer(&self, point: Point, hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        let abort = hit.asked.filter(|_| point == Point::Request)?.abort?;
        let (status, mut headers) = match abort {
            Abort::Status(status) => (status, Headers::new()),
            Abort::Grpc(code) => (StatusCode::OK, grpc::trailers_only(code, "")),
        };
        if self.mark {
            given::mark(&mut headers, &hit.fault.id);
        }
        Some(Answer { status, headers, body: Bytes::new(), trailers: None })
    }

    fn request(&self, _hit: &Hit, head: &mut RequestHead) -> bool {
        let names = OURS.iter().filter(|_| self.ours).chain(ENVOYS.iter().filter(|_| self.envoys));
        names.for_each(|name| {
            head.headers.remove(name);
        });
        // What is taken off was for us: that is not what the fault does to a request.
        false
    }

    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        let rate = hit.asked.filter(|_| dir == Dir::Down)?.rate?;
        Some(Metered::stage(Knob::fixed(rate), hit.clone()))
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let mut measured = meters.lateness();
        measured.insert("requests_that_asked", meters.applied.load(Relaxed) as f64);
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::Exchange;
    use super::*;

    struct Asks(&'static [(&'static str, &'static str)]);
    impl Facts for Asks {
        fn header(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
        }
    }

    fn asked(words: &str, headers: &'static [(&str, &str)]) -> Asked {
        Exchange::asked(words, &Asks(headers)).hit.asked.unwrap()
    }

    #[test]
    fn our_headers_within_limits() {
        let all = [("x-murphy-delay", "1m"), ("x-murphy-abort", "418"), ("x-murphy-throttle", "1B/s")];
        let all: &'static [(&str, &str)] = Box::leak(Box::new(all));
        let got = asked("header_driven max_delay=2s", all);
        assert_eq!(got.delay, Some(Duration::from_secs(2)));
        assert_eq!(got.abort, Some(Abort::Status(StatusCode::IM_A_TEAPOT)));
        assert_eq!(got.rate, Some(1000.0));
    }

    #[test]
    fn what_does_not_read_and_what_is_not_allowed_is_not_for_it() {
        for headers in [
            &[("x-murphy-delay", "soon")][..],
            &[("x-murphy-abort", "99")],
            &[("x-envoy-fault-delay-request", "7")],
        ] {
            let x = Exchange::asked("header_driven", &Asks(&[("x-murphy-delay", "1ms")]));
            let Act::Request(fault) = &x.fault.settings().act else { panic!("a request fault") };
            let headers: &'static [(&str, &str)] = Box::leak(headers.to_vec().into_boxed_slice());
            assert!(!fault.is_for(&Asks(headers)), "{headers:?}");
        }
    }

    #[test]
    fn envoys_headers() {
        let got = asked(
            "header_driven headers=envoy",
            &[
                ("x-envoy-fault-delay-request", "250"),
                ("x-envoy-fault-abort-grpc-request", "14"),
                ("x-envoy-fault-throughput-response", "2"),
                ("x-envoy-fault-throughput-response-percentage", "0"),
            ],
        );
        let want =
            Asked { delay: Some(Duration::from_millis(250)), abort: Some(Abort::Grpc(14)), rate: None };
        assert_eq!(got, want);
        let x =
            Exchange::asked("header_driven headers=envoy", &Asks(&[("x-envoy-fault-abort-request", "503")]));
        let mut head = RequestHead {
            headers: [("X-Envoy-Fault-Abort-Request", "503"), ("x-murphy-delay", "1s")].into_iter().collect(),
            ..RequestHead::default()
        };
        x.with(|f, _| f.request(&x.hit, &mut head));
        assert_eq!(format!("{:?}", head.headers), r#"{"x-murphy-delay": "1s"}"#);
    }
}
