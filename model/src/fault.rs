//! A fault as someone orders it: what, on what, for how long, on which share, when.

use crate::catalogue::{self, FaultDef};
use crate::matcher::Matcher;
use crate::problem::{Problem, did_you_mean};
use crate::ramp::Ramp;
use crate::share::{Per, Share};
use crate::target::{TargetKind, TargetRef};
use crate::units::{ByteRate, Drift, EventRate, Offset, Percent, Size, Span};
use crate::value::Value;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// One fault on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The name it goes by; made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it is armed on.
    pub target: TargetRef,
    /// What is done.
    pub inject: Injection,
    /// How long; only a fault that happens once may leave it out.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// Which share of what the fault counts.
    #[serde(default, skip_serializing_if = "Share::is_all")]
    pub share: Share,
    /// Whether the share counts for each client (or whatever else is named) by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
    /// What it must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Matcher>,
    /// What changes while it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// The seed of its decisions; drawn from the experiment's, or at random, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The longest a fault may be armed by hand: a week.
pub const LONGEST: Span = Span(Duration::from_secs(7 * 86_400));

impl Fault {
    /// What is impossible about it, beyond what reading it already refused.
    pub fn problems(&self) -> Vec<Problem> {
        let def = self.inject.def();
        let mut out = Vec::new();
        if !def.fits(self.target.kind) {
            let kinds = def.targets.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
            out.push(
                Problem::new(format!("{} cannot be armed on {}", def.name, self.target))
                    .hint(format!("it is for targets of kind {kinds}")),
            );
        }
        let files = self.target.kind == TargetKind::Fs;
        let foreign = if files { "direction" } else { "ops" };
        if def.fits(TargetKind::Fs)
            && def.fits(TargetKind::Proxy)
            && self
                .inject
                .get(foreign)
                .is_some_and(|v| def.param(foreign).and_then(|p| p.default_value()).as_ref() != Some(v))
        {
            let (what, for_what) = if files { ("files", "connections") } else { ("connections", "files") };
            out.push(
                Problem::new(format!("{} on {} has no {foreign}", def.name, self.target))
                    .hint(format!("{foreign} is for {for_what}, and this is about {what}: leave it out")),
            );
        }
        match self.lasts {
            None if !def.one_shot => out.push(
                Problem::new(format!("{} has no end", def.name))
                    .hint("every fault has one: add for, such as 60s"),
            ),
            Some(_) if def.one_shot => {
                out.push(
                    Problem::new(format!("{} happens once and takes no length", def.name))
                        .hint("leave out for"),
                );
            }
            Some(Span::ZERO) => {
                out.push(Problem::new("a fault cannot last 0s").hint("write for example 60s"))
            }
            Some(span) if span > LONGEST => {
                out.push(Problem::new(format!("{span} is longer than a week")).hint("write at most 7d"));
            }
            _ => {}
        }
        if def.counts.is_none() && !self.share.is_all() {
            out.push(
                Problem::new(format!("{} takes no share", def.name))
                    .hint("it hits its target as a whole: leave out percent, nth and first"),
            );
        }
        if let Some(per) = &self.per {
            if self.share.is_all() {
                out.push(
                    Problem::new(format!("per {per} says nothing without a share"))
                        .hint("add percent, nth or first, or leave out per"),
                );
            }
            if *per != Per::Client && def.layer != catalogue::Layer::Requests {
                out.push(
                    Problem::new(format!("{} cannot count per {per}", def.name))
                        .hint("it acts before any request is read: per: client is possible"),
                );
            }
        }
        if let Some(when) = &self.when {
            // A fault that is for connections and files asks what it is armed on.
            let layer = if self.target.kind == TargetKind::Fs { catalogue::Layer::Files } else { def.layer };
            if let Some(word) = when.unfit_for(layer) {
                out.push(
                    Problem::new(format!("{} cannot match on {word}", def.name))
                        .hint("it acts on connections, before any request is read"),
                );
            }
            if def.counts.is_none() {
                out.push(Problem::new(format!("{} takes no matcher", def.name)).hint("leave out when"));
            }
        }
        if let (Some(ramp), Some(lasts)) = (&self.ramp, self.lasts)
            && ramp.over > lasts
        {
            out.push(
                Problem::new(format!("the ramp takes {} but the fault lasts {lasts}", ramp.over))
                    .hint("make over at most as long as for"),
            );
        }
        out
    }

    /// The share at `elapsed` after arming.
    pub fn share_at(&self, elapsed: Duration) -> Share {
        match (self.share, self.ramp.as_ref().and_then(|r| r.at("percent", elapsed))) {
            (Share::All | Share::Percent(_), Some(Value::Percent(p))) => Share::Percent(p),
            (share, _) => share,
        }
    }

    /// The largest part that it may hit while it is on. A share that is ramped is never what it would be without.
    pub fn hits_at_most(&self) -> f64 {
        let over = self.ramp.as_ref().map_or(Duration::ZERO, |ramp| ramp.over.0);
        self.share_at(Duration::ZERO).at_most().max(self.share_at(over).at_most())
    }

    /// The injection with its parameters as they are at `elapsed` after arming.
    pub fn inject_at(&self, elapsed: Duration) -> Injection {
        let mut now = self.inject.clone();
        if let Some(ramp) = &self.ramp {
            for track in ramp.tracks.iter().filter(|t| t.param != "percent") {
                if let Some(value) = ramp.at(&track.param, elapsed) {
                    now.params.insert(track.param.clone(), value);
                }
            }
        }
        now
    }

    /// The fault in a few words: `latency 120ms ±40ms down · 30%`.
    pub fn describe(&self) -> String {
        let mut text = self.inject.describe();
        if !self.share.is_all() {
            text.push_str(&format!(" · {}", self.share));
        }
        if let Some(per) = &self.per {
            text.push_str(&format!(" per {per}"));
        }
        if let Some(when) = &self.when {
            text.push_str(&format!(" · {when}"));
        }
        text
    }
}

/// What is done: a fault of the catalogue with its parameters, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    def: &'static FaultDef,
    params: BTreeMap<String, Value>,
}

impl Injection {
    /// From parameters already read; fills in defaults, refuses unknown and missing ones.
    pub fn new(def: &'static FaultDef, given: BTreeMap<String, Value>) -> Result<Injection, Problem> {
        let mut params = given;
        for name in params.keys() {
            if def.param(name).is_none() {
                return Err(unknown_param(def, name));
            }
        }
        for p in def.params {
            if params.contains_key(p.name) {
                continue;
            }
            if p.required {
                return Err(Problem::new(format!("{} needs {}", def.name, p.name)).hint(format!(
                    "{}: {}, for example {}={}",
                    p.name,
                    p.ty.describe(),
                    p.name,
                    p.example
                )));
            }
            if let Some(value) = p.default_value() {
                params.insert(p.name.to_owned(), value);
            }
        }
        Ok(Injection { def, params })
    }

    /// From `key=value` texts, as on a command line.
    pub fn from_pairs<'a>(
        name: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Injection, Problem> {
        let def = find(name)?;
        let mut params = BTreeMap::new();
        for (key, text) in pairs {
            let param = def.param(key).ok_or_else(|| unknown_param(def, key))?;
            let value = param.ty.parse(text).map_err(|e| Problem::new(format!("{} {key}: {e}", def.name)))?;
            if params.insert(key.to_owned(), value).is_some() {
                return Err(Problem::new(format!("{key} is given twice")));
            }
        }
        Injection::new(def, params)
    }

    /// From a JSON object `{"latency": {"delay": "120ms"}}`.
    pub fn from_json(json: &serde_json::Value) -> Result<Injection, Problem> {
        let shape = || {
            Problem::new("inject must be one fault with its parameters")
                .hint(r#"write for example {"latency": {"delay": "120ms"}}"#)
        };
        let object = json.as_object().filter(|o| o.len() == 1).ok_or_else(shape)?;
        let (name, given) = object.iter().next().ok_or_else(shape)?;
        let def = find(name)?;
        let mut params = BTreeMap::new();
        if !given.is_null() {
            for (key, value) in given.as_object().ok_or_else(shape)? {
                let param = def.param(key).ok_or_else(|| unknown_param(def, key))?;
                let value = param
                    .ty
                    .from_json(value)
                    .map_err(|e| Problem::new(format!("{} {key}: {e}", def.name)))?;
                params.insert(key.clone(), value);
            }
        }
        Injection::new(def, params)
    }

    /// The catalogue's row.
    pub fn def(&self) -> &'static FaultDef {
        self.def
    }

    /// The fault's name.
    pub fn name(&self) -> &'static str {
        self.def.name
    }

    /// All parameters with their values.
    pub fn params(&self) -> &BTreeMap<String, Value> {
        &self.params
    }

    /// A parameter's value; none when it is optional and absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.params.get(name)
    }

    /// A duration, or none.
    pub fn span(&self, name: &str) -> Option<Duration> {
        match self.get(name) {
            Some(Value::Span(v)) => Some(v.0),
            _ => None,
        }
    }

    /// A number of bytes, or none.
    pub fn size(&self, name: &str) -> Option<Size> {
        match self.get(name) {
            Some(Value::Size(v)) => Some(*v),
            _ => None,
        }
    }

    /// A share, or none.
    pub fn percent(&self, name: &str) -> Option<Percent> {
        match self.get(name) {
            Some(Value::Percent(v)) => Some(*v),
            _ => None,
        }
    }

    /// By how much a clock is wrong, or none.
    pub fn offset(&self, name: &str) -> Option<Offset> {
        match self.get(name) {
            Some(Value::Offset(v)) => Some(*v),
            _ => None,
        }
    }

    /// How much too fast a clock goes, or none.
    pub fn drift(&self, name: &str) -> Option<Drift> {
        match self.get(name) {
            Some(Value::Drift(v)) => Some(*v),
            _ => None,
        }
    }

    /// Bytes per second, or none.
    pub fn byte_rate(&self, name: &str) -> Option<ByteRate> {
        match self.get(name) {
            Some(Value::ByteRate(v)) => Some(*v),
            _ => None,
        }
    }

    /// Things per second, or none.
    pub fn event_rate(&self, name: &str) -> Option<EventRate> {
        match self.get(name) {
            Some(Value::EventRate(v)) => Some(*v),
            _ => None,
        }
    }

    /// A whole number, or none.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Int(v)) => Some(*v),
            _ => None,
        }
    }

    /// A number, or none.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Some(Value::Float(v)) => Some(*v),
            _ => None,
        }
    }

    /// A text or a word, or none.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(v)) => Some(v),
            _ => None,
        }
    }

    /// True only when the parameter is there and true.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Bool(true)))
    }

    /// Words, empty when absent.
    pub fn words(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Words(v)) => v,
            _ => &[],
        }
    }

    /// Names with texts, or none.
    pub fn map(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        match self.get(name) {
            Some(Value::Map(v)) => Some(v),
            _ => None,
        }
    }

    /// In a few words: the name and the parameters that differ from their defaults.
    pub fn describe(&self) -> String {
        let mut text = self.def.name.to_owned();
        for p in self.def.params {
            if let Some(value) = self.params.get(p.name).filter(|v| p.default_value().as_ref() != Some(v)) {
                match (p.name, value) {
                    ("delay" | "rate" | "status" | "signal" | "direction" | "how" | "load", v) => {
                        text.push_str(&format!(" {v}"))
                    }
                    ("jitter", v) => text.push_str(&format!("±{v}")),
                    (name, v) => text.push_str(&format!(" {name}={v}")),
                }
            }
        }
        text
    }

    /// The parameters as `key=value` texts that differ from their defaults, as typed on a command line.
    pub fn pairs(&self) -> Vec<String> {
        self.def
            .params
            .iter()
            .filter_map(|p| {
                self.params
                    .get(p.name)
                    .filter(|v| p.default_value().as_ref() != Some(v))
                    .map(|v| format!("{}={v}", p.name))
            })
            .collect()
    }
}

fn find(name: &str) -> Result<&'static FaultDef, Problem> {
    catalogue::find(name).ok_or_else(|| {
        let hint = match catalogue::nearest(name) {
            Some(near) => format!("did you mean {near}?"),
            None => "`murphy faults` lists them".to_owned(),
        };
        Problem::new(format!("there is no fault named {name:?}")).hint(hint)
    })
}

fn unknown_param(def: &FaultDef, name: &str) -> Problem {
    let known = || def.params.iter().map(|p| p.name);
    let hint = match did_you_mean(name, known()) {
        Some(near) => format!("did you mean {near}?"),
        None if def.params.is_empty() => "it takes none".to_owned(),
        None => format!("it takes {}", known().collect::<Vec<_>>().join(", ")),
    };
    Problem::new(format!("{} has no parameter {name:?}", def.name)).hint(hint)
}

impl Serialize for Injection {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        BTreeMap::from([(self.def.name, &self.params)]).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Injection {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Injection::from_json(&serde_json::Value::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// A fault's id before what it is: only what it is where the id is no more than the fault's name.
pub fn titled(id: &str, gap: &str, what: &str) -> String {
    match what.strip_prefix(id) {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => what.to_owned(),
        _ => format!("{id}{gap}{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_after_reading() {
        let i = Injection::from_pairs("latency", [("delay", "120ms")]).unwrap();
        assert_eq!(i.span("delay"), Some(Duration::from_millis(120)));
        assert_eq!(i.span("jitter"), Some(Duration::ZERO));
        assert_eq!(i.text("direction"), Some("both"));
        assert_eq!(serde_json::from_str::<Injection>(&serde_json::to_string(&i).unwrap()).unwrap(), i);
        let why = |name: &str, pairs: &[(&str, &str)]| {
            Injection::from_pairs(name, pairs.iter().copied()).unwrap_err().to_string()
        };
        assert_eq!(why("latnecy", &[]), r#"there is no fault named "latnecy"; did you mean latency?"#);
        assert!(why("latency", &[]).contains("latency needs delay"));
        assert!(why("latency", &[("dealy", "1s")]).contains("did you mean delay?"));
    }

    #[test]
    fn ramps_are_functions_of_elapsed_time() {
        let fault: Fault = serde_json::from_str(
            r#"{"target":"proxy:a","for":"60s","inject":{"latency":{"delay":"0ms"}},"ramp":{"delay":["0ms","100ms"],"percent":["0%","50%"],"over":"10s"}}"#,
        )
        .unwrap();
        assert_eq!(fault.inject_at(Duration::from_secs(5)).span("delay"), Some(Duration::from_millis(50)));
        assert_eq!(fault.share_at(Duration::from_secs(60)), Share::Percent(Percent::new(50.0).unwrap()));
        assert_eq!(fault.hits_at_most(), 0.5, "never everything, which it would be without its ramp");
        assert!(fault.problems().is_empty());
    }

    #[test]
    fn an_id_that_says_nothing_more_is_left_out() {
        assert_eq!(titled("pause", ": ", "pause"), "pause");
        assert_eq!(titled("latency", ": ", "latency 10ms"), "latency 10ms");
        assert_eq!(titled("slow", ": ", "latency 10ms"), "slow: latency 10ms");
        assert_eq!(titled("io", " ", "io_error EIO"), "io io_error EIO");
    }
}
