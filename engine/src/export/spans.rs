//! What events and requests come to as spans.
//!
//! ```text
//! experiment checkout                     RunStarted … RunEnded
//! ├─ baseline, stage slow, cooldown …     Phase … the next one
//! │  └─ fault latency                     Armed … Recovered; of its own trace when no run ordered it
//! └
//! the caller's span (traceparent)
//! └─ murphy latency                       a request that a fault was applied to, with a link to the fault's span
//! ```

use model::{Event, EventKind, RequestState, RequestView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Spans that cannot be sent are kept up to this number.
const KEPT: usize = 4096;
/// How many are sent at once.
const BATCH: usize = 512;
/// Faults that have ended and may still be named by requests.
const ENDED: usize = 256;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace: u128,
    /// The span in it.
    pub span: u64,
}

impl Place {
    fn root() -> Place {
        let trace = u128::from(random()) << 64 | u128::from(random());
        Place { trace, span: random() }
    }

    fn below(self) -> Place {
        Place { span: random(), ..self }
    }

    /// From a `traceparent` header (W3C Trace Context) of a request that is being sampled.
    pub fn sampled(traceparent: &str) -> Option<Place> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
            return None;
        }
        let place =
            Place { trace: u128::from_str_radix(trace, 16).ok()?, span: u64::from_str_radix(span, 16).ok()? };
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (sampled && place.trace != 0 && place.span != 0).then_some(place)
    }
}

/// A span, over or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Where it is.
    pub place: Place,
    /// The span above it.
    pub parent: Option<u64>,
    /// Another span that it has to do with.
    pub link: Option<Place>,
    /// Its name.
    pub name: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed.
    pub failed: Option<String>,
}

impl Span {
    fn new(place: Place, parent: Option<u64>, name: String, at_ms: u64) -> Span {
        let begin = at_ms * 1_000_000;
        Span { place, parent, link: None, name, begin, end: begin, attributes: vec![], failed: None }
    }
}

/// Spans that go on, and those that are over and not sent yet.
#[derive(Debug, Default)]
pub struct Spans {
    run: Option<Span>,
    phase: Option<Span>,
    faults: BTreeMap<String, Span>,
    ended: VecDeque<(String, Place)>,
    done: VecDeque<Span>,
    dropped: u64,
    /// The last request that was looked at.
    request: u64,
}

impl Spans {
    /// Requests up to that number were there before.
    pub fn new(request: u64) -> Spans {
        Spans { request, ..Spans::default() }
    }

    /// Takes note of what happened.
    pub fn event(&mut self, event: &Event) {
        let at = event.at_ms;
        match &event.kind {
            EventKind::RunStarted { name, seed, .. } => {
                self.end_run(at);
                let mut span = Span::new(Place::root(), None, format!("experiment {name}"), at);
                span.attributes = vec![("murphy.experiment", json!(name)), ("murphy.seed", json!(seed))];
                self.run = Some(span);
            }
            EventKind::Phase { phase, stage, .. } => {
                self.end_phase(at);
                let Some(run) = self.run.as_ref().filter(|_| phase != "done") else { return };
                let name = match stage {
                    Some((name, _)) => format!("{phase} {name}"),
                    None => phase.clone(),
                };
                self.phase = Some(Span::new(run.place.below(), Some(run.place.span), name, at));
            }
            EventKind::RunEnded { verdict, why, .. } => {
                self.end_phase(at);
                if let Some(run) = &mut self.run {
                    run.attributes.push(("murphy.verdict", json!(verdict)));
                    run.attributes.push(("murphy.why", json!(why)));
                    run.failed = ["error", "aborted"].contains(&verdict.as_str()).then(|| why.clone());
                }
                self.end_run(at);
            }
            EventKind::Armed { id, fault, by } => {
                let above = self.phase.as_ref().or(self.run.as_ref()).filter(|_| by.starts_with("run "));
                let (place, parent) = match above {
                    Some(above) => (above.place.below(), Some(above.place.span)),
                    None => (Place::root(), None),
                };
                let mut span = Span::new(place, parent, format!("fault {}", fault.inject.name()), at);
                span.attributes = vec![
                    ("murphy.fault.id", json!(id)),
                    ("murphy.fault", json!(fault.inject.name())),
                    ("murphy.target", json!(fault.target.to_string())),
                    ("murphy.order", json!(serde_json::to_string(fault).unwrap_or_default())),
                    ("murphy.by", json!(by)),
                ];
                self.faults.insert(id.clone(), span);
            }
            EventKind::Recovered { id, why, evidence, .. } => {
                let attributes = vec![
                    ("murphy.ending", json!(why)),
                    ("murphy.considered", json!(evidence.considered)),
                    ("murphy.applied", json!(evidence.applied)),
                ];
                self.end_fault(id, at, attributes, None);
            }
            EventKind::RecoverFailed { id, why } => self.end_fault(id, at, vec![], Some(why.clone())),
            _ => {}
        }
    }

    /// Takes note of a request that is over, the first time it is seen.
    pub fn request(&mut self, view: &RequestView) {
        if view.id <= self.request || !matches!(view.state, RequestState::Done | RequestState::Broken) {
            return;
        }
        let Some(caller) = view.trace.as_deref().and_then(Place::sampled) else { return };
        let applied: Vec<_> = view.faults.iter().filter(|f| f.applied).collect();
        let Some(first) = applied.first() else { return };
        let names: Vec<&str> = applied.iter().map(|f| f.fault.as_str()).collect();
        let mut span =
            Span::new(caller.below(), Some(caller.span), format!("murphy {}", names.join(", ")), view.at_ms);
        span.end = span.begin + (view.total_ms * 1e6) as u64;
        span.link = self.place_of(&first.id);
        span.attributes = vec![
            ("murphy.fault.id", json!(applied.iter().map(|f| f.id.as_str()).collect::<Vec<_>>().join(", "))),
            ("murphy.target", json!(view.target.to_string())),
            ("murphy.injected_ms", json!(view.injected_ms)),
            ("http.request.method", json!(view.method)),
            ("url.path", json!(view.path)),
        ];
        if let Some(status) = view.status {
            span.attributes.push(("http.response.status_code", json!(status)));
        }
        span.failed = (view.state == RequestState::Broken).then(|| "the response was not whole".to_owned());
        self.over(span);
    }

    /// That these requests have been looked at: those before need no second look.
    pub fn looked_at(&mut self, views: &[RequestView]) {
        let under_way = |v: &&RequestView| !matches!(v.state, RequestState::Done | RequestState::Broken);
        let until = views.iter().find(under_way).map(|v| v.id - 1).or(views.last().map(|v| v.id));
        self.request = until.unwrap_or(0).max(self.request);
    }

    /// The next of what is over, as many as are sent at once; empty when all are.
    pub fn batch(&mut self) -> Vec<Span> {
        self.done.drain(..self.done.len().min(BATCH)).collect()
    }

    /// That these are lost: nobody will take them.
    pub fn drop_all(&mut self, spans: &[Span]) {
        self.dropped += spans.len() as u64;
    }

    /// What is over and has not been sent.
    pub fn take(&mut self) -> Vec<Span> {
        self.done.drain(..).collect()
    }

    /// Keeps what could not be sent for the next time.
    pub fn put_back(&mut self, spans: Vec<Span>) {
        for span in spans.into_iter().rev() {
            if self.done.len() >= KEPT {
                self.dropped += 1;
            } else {
                self.done.push_front(span);
            }
        }
    }

    /// How many spans were lost because nobody took them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Ends everything that goes on.
    pub fn end_all(&mut self, at_ms: u64) {
        let ids: Vec<String> = self.faults.keys().cloned().collect();
        ids.iter().for_each(|id| self.end_fault(id, at_ms, vec![], None));
        self.end_phase(at_ms);
        self.end_run(at_ms);
    }

    fn place_of(&self, fault: &str) -> Option<Place> {
        let on = self.faults.get(fault).map(|s| s.place);
        on.or_else(|| self.ended.iter().rev().find(|(id, _)| id == fault).map(|(_, place)| *place))
    }

    fn end_fault(
        &mut self,
        id: &str,
        at: u64,
        attributes: Vec<(&'static str, Value)>,
        failed: Option<String>,
    ) {
        let Some(mut span) = self.faults.remove(id) else { return };
        span.attributes.extend(attributes);
        span.failed = failed;
        self.ended.push_back((id.to_owned(), span.place));
        if self.ended.len() > ENDED {
            self.ended.pop_front();
        }
        self.finish(span, at);
    }

    fn end_phase(&mut self, at: u64) {
        if let Some(span) = self.phase.take() {
            self.finish(span, at);
        }
    }

    fn end_run(&mut self, at: u64) {
        if let Some(span) = self.run.take() {
            self.finish(span, at);
        }
    }

    fn finish(&mut self, mut span: Span, at_ms: u64) {
        span.end = (at_ms * 1_000_000).max(span.begin);
        self.over(span);
    }

    fn over(&mut self, span: Span) {
        if self.done.len() >= KEPT {
            self.done.pop_front();
            self.dropped += 1;
        }
        self.done.push_back(span);
    }
}

/// A number that is not zero.
fn random() -> u64 {
    loop {
        let number = crate::ids::random_seed();
        if number != 0 {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn event(at_ms: u64, kind: &Value) -> Event {
        let mut text = json!({"seq": 1, "at_ms": at_ms, "mono_ms": 0.0});
        text.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn callers_are_read_and_nothing_else() {
        let place = Place::sampled(CALLER).unwrap();
        assert_eq!(place, Place { trace: 0x0af7651916cd43dd8448eb211c80319c, span: 0xb7ad6b7169203331 });
        assert!(Place::sampled(&format!("{CALLER}-later-versions-say-more")).is_some());
        for wrong in [
            "",
            "00",
            &CALLER.replace("-01", "-00"),
            &CALLER.replace("00-0a", "ff-0a"),
            &CALLER.to_uppercase(),
            &CALLER.replace("b7ad6b7169203331", "0000000000000000"),
            &CALLER.replace("b7ad", "+7ad"),
        ] {
            assert_eq!(Place::sampled(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_run_is_a_tree_and_a_fault_by_hand_stands_alone() {
        let mut spans = Spans::new(0);
        let fault = json!({"target": "proxy:web", "inject": {"abort": {}}});
        for (at, kind) in [
            (1, json!({"event": "run_started", "name": "x", "seed": 3, "stages": [], "bounds": {}})),
            (2, json!({"event": "phase", "phase": "baseline", "stage": null, "lasts": null})),
            (3, json!({"event": "phase", "phase": "stage", "stage": ["slow", 1], "lasts": null})),
            (4, json!({"event": "armed", "id": "A", "fault": fault, "by": "run x"})),
            (5, json!({"event": "armed", "id": "B", "fault": fault, "by": "eve"})),
            (
                6,
                json!({"event": "recovered", "id": "A", "target": "proxy:web", "why": "elapsed", "evidence": {"considered": 9, "applied": 4, "measured": {}}}),
            ),
            (
                7,
                json!({"event": "run_ended", "name": "x", "verdict": "held", "why": "it did", "report": null}),
            ),
        ] {
            spans.event(&event(at, &kind));
        }
        spans.end_all(8);
        let all = spans.take();
        let find = |name: &str| all.iter().find(|s| s.name == name).unwrap();
        let (run, stage) = (find("experiment x"), find("stage slow"));
        assert_eq!((run.begin, run.end, run.parent), (1_000_000, 7_000_000, None));
        assert_eq!((stage.parent, stage.place.trace), (Some(run.place.span), run.place.trace));
        let by_id =
            |id: &str| all.iter().find(|s| s.attributes.contains(&("murphy.fault.id", json!(id)))).unwrap();
        let (a, b) = (by_id("A"), by_id("B"));
        assert_eq!((a.parent, a.begin, a.end), (Some(stage.place.span), 4_000_000, 6_000_000));
        assert!(a.attributes.contains(&("murphy.applied", json!(4))));
        assert_eq!((b.parent, b.end), (None, 8_000_000));
        assert_ne!(b.place.trace, run.place.trace);
        assert!(find("baseline").end == 3_000_000 && spans.take().is_empty());
    }

    #[test]
    fn requests_with_a_fault_hang_below_their_callers_once() {
        let mut spans = Spans::new(0);
        let fault = json!({"target": "proxy:web", "inject": {"abort": {}}});
        spans.event(&event(1, &json!({"event": "armed", "id": "A", "fault": fault, "by": "eve"})));
        let view = |id: u64, state: &str, applied: bool, trace: Option<&str>| -> RequestView {
            serde_json::from_value(json!({
                "id": id, "target": "proxy:web", "connection": 1, "at_ms": 5, "method": "GET", "path": "/", "http": "2",
                "state": state, "status": 503, "total_ms": 1.5, "injected_ms": 1.0, "bytes_up": 0, "bytes_down": 0,
                "trace": trace,
                "faults": [{"id": "A", "fault": "abort", "ordinal": 0, "taken": applied, "applied": applied}],
            }))
            .unwrap()
        };
        let views = [
            view(1, "done", true, Some(CALLER)),
            view(2, "done", false, Some(CALLER)),
            view(3, "done", true, None),
            view(4, "waiting", true, Some(CALLER)),
            view(5, "broken", true, Some(CALLER)),
        ];
        for _ in 0..2 {
            views.iter().for_each(|v| spans.request(v));
            spans.looked_at(&views);
        }
        // The fourth is under way, so what came after it is looked at again.
        let all = spans.take();
        assert_eq!(all.iter().filter(|s| s.name == "murphy abort" && s.failed.is_none()).count(), 1);
        assert_eq!((all[0].parent, all[0].end - all[0].begin), (Some(0xb7ad6b7169203331), 1_500_000));
        assert_eq!(all[0].link, Some(spans.faults["A"].place));
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let mut spans = Spans::new(0);
        for i in 0..2 * KEPT {
            spans.over(Span::new(Place::root(), None, i.to_string(), 1));
        }
        assert_eq!((spans.done.len(), spans.dropped()), (KEPT, KEPT as u64));
        let taken = spans.take();
        assert_eq!(taken[0].name, KEPT.to_string());
        spans.over(Span::new(Place::root(), None, "new".into(), 1));
        spans.put_back(taken);
        assert_eq!((spans.done.len(), spans.dropped()), (KEPT, KEPT as u64 + 1));
    }
}
