//! `abort` and `stub`: requests are answered by the proxy, or end without an answer.

use super::truncate_body::CANCEL;
use super::{Act, Known, Point, RequestFault, given};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::headers::Headers;
use crate::http::hit::Hit;
use crate::http::message::Answer;
use crate::http::wire::{Ending, Moment, WirePlan};
use crate::knob::Dials;
use bytes::Bytes;
use http::{StatusCode, Version};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

struct Abort {
    status: StatusCode,
    headers: Headers,
    body: Bytes,
    mark: bool,
    /// How the connection ends instead of an answer.
    ending: Option<Ending>,
    point: Point,
}

/// Reads both: they differ in their defaults and in what `stub` does not have.
pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let point = match params.text("point") {
        Some("response") => Point::Response,
        _ => Point::Request,
    };
    let ending = match params.text("how") {
        Some("close") => Some(Ending::Fin),
        Some("reset") => Some(Ending::Rst),
        _ => None,
    };
    Ok(Act::Request(Box::new(Abort {
        status: given::status(params).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        headers: given::headers(dials, "headers")?,
        body: Bytes::from(params.text("body").unwrap_or_default().to_owned()),
        mark: params.flag("mark"),
        ending,
        point,
    })))
}

impl RequestFault for Abort {
    fn answer(&self, point: Point, hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        if point != self.point {
            return None;
        }
        let mut headers = self.headers.clone();
        if self.mark {
            given::mark(&mut headers, &hit.fault.id);
        }
        Some(Answer { status: self.status, headers, body: self.body.clone(), trailers: None })
    }

    fn wire(&self, _hit: &Hit, dir: Dir, known: &Known<'_>) -> Option<WirePlan> {
        let ending = self.ending.filter(|_| dir == Dir::Down)?;
        let of_version =
            if known.request.version == Version::HTTP_2 { Ending::Reset(CANCEL) } else { ending };
        Some(WirePlan { breaks: Some((Moment::BeforeHead, of_version)), ..WirePlan::default() })
    }

    fn acts_on_responses(&self) -> bool {
        self.point == Point::Response
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let name = if self.ending.is_some() { "requests_ended" } else { "requests_answered" };
        BTreeMap::from([(name, meters.applied.load(Relaxed) as f64)])
    }
}
