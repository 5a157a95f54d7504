//! `delay`: holds requests before the service gets them, or responses before the client does.

use super::{Act, Draw, Point, RequestFault, Spread};
use crate::armed::Meters;
use crate::knob::Dials;
use model::Problem;
use std::collections::BTreeMap;
use std::time::Duration;

struct Delay {
    spread: Spread,
    point: Point,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let point = match dials.fixed().text("point") {
        Some("response") => Point::Response,
        _ => Point::Request,
    };
    Ok(Act::Request(Box::new(Delay { spread: Spread::read(dials)?, point })))
}

impl RequestFault for Delay {
    fn hold(&self, point: Point, draw: &Draw) -> Option<Duration> {
        (point == self.point).then(|| self.spread.draw(draw.seed, draw.ordinal, draw.elapsed))
    }

    fn acts_on_responses(&self) -> bool {
        self.point == Point::Response
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        meters.lateness()
    }
}
