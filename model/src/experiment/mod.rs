//! One experiment: targets, steady state, load, stages with faults, safety, report.

mod json_test;
mod read;
mod schema;
mod sections;

pub use json_test::{JsonTest, JsonTestError};
pub use read::read;
pub use schema::schema;

use crate::fault::Fault;
use crate::target::{ProcessSpec, Target};
use crate::units::{EventRate, Percent, Span};
use serde::Serialize;

/// A whole experiment file, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Its name; the file's name when the file gives none.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// What is expected to hold.
    pub hypothesis: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The seed of every random choice; drawn at the start when absent.
    pub seed: Option<u64>,
    /// Targets, in the order of the file.
    pub targets: Vec<Target>,
    /// What must hold.
    pub steady_state: SteadyState,
    /// Load made while it runs.
    pub loads: Vec<Load>,
    /// Stages, one after the other.
    pub stages: Vec<Stage>,
    /// What ends it early, and what it must never do.
    pub safety: Safety,
    /// What remains of it.
    pub report: Report,
}

/// What must hold, and how that is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SteadyState {
    /// Length of one window.
    pub window: Span,
    /// Time measured before the first fault.
    pub baseline: Span,
    /// Time watched after the last recovery.
    pub cooldown: Span,
    /// How a window without data is judged.
    pub no_data: NoData,
    /// The metrics, in the order of the file.
    pub metrics: Vec<Metric>,
}

/// How a window without data is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoData {
    /// It passes.
    Pass,
    /// It fails.
    Fail,
    /// It is neither.
    #[default]
    Unknown,
}

/// One thing that is measured and judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Where the number comes from.
    pub from: Source,
    /// What it must be.
    pub expect: Expect,
    /// Below so many samples a window is unknown.
    pub min_samples: u64,
    /// How many bad windows of how many latest are forgiven.
    pub allow: Option<Allow>,
    /// Whether it decides the verdict.
    pub severity: Severity,
}

/// So many breaches of the latest so many windows are forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// Forgiven breaches.
    pub breaches: u64,
    /// Of so many windows.
    pub of: u64,
}

/// Whether a metric decides the verdict or only informs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It decides.
    #[default]
    Gate,
    /// It informs.
    Inform,
}

/// Where a metric's number comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A proxy's own counters.
    Proxy {
        /// The target's name.
        target: String,
        /// Which number.
        stat: Stat,
    },
    /// What the load generator saw.
    Load {
        /// The load's name.
        load: String,
        /// Which number.
        stat: Stat,
    },
    /// An HTTP request at an interval: 1 when it is as it should be, else 0.
    Http(HttpProbe),
    /// A TCP connection at an interval: 1 when it opens, else 0.
    Tcp(TcpProbe),
    /// A command at an interval: its exit status (1 for 0, else 0), or the number it prints.
    Command(CommandProbe),
    /// What processes take of this machine.
    Process(ProcessProbe),
    /// A number that Prometheus has.
    Prometheus(PrometheusProbe),
}

/// A number of a proxy or a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stat {
    /// A latency quantile in milliseconds; 0.99 is p99.
    Latency(f64),
    /// The failed share in percent.
    Errors,
    /// The successful share in percent.
    Success,
    /// Requests per second.
    Rate,
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpProbe {
    /// Where: `http://` or `https://`.
    pub url: String,
    /// See [`Trust`].
    pub trust: Trust,
    /// How often.
    pub every: Span,
    /// When it counts as failed.
    pub timeout: Span,
    /// Statuses that are right, first and last of the range.
    pub status: (u16, u16),
    /// A text the body must contain.
    pub contains: Option<String>,
    /// What must hold of the body as JSON.
    pub json: Option<JsonTest>,
}

/// With an `https://` address: whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// A PEM file with the roots; those of the system and murphy's own CA when absent.
    pub roots: Option<String>,
    /// Nothing is checked.
    pub insecure: bool,
}

/// A TCP probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TcpProbe {
    /// `host:port`.
    pub address: String,
    /// How often.
    pub every: Span,
    /// When it counts as failed.
    pub timeout: Span,
}

/// A command probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandProbe {
    /// Program and arguments; no shell.
    pub run: Vec<String>,
    /// How often.
    pub every: Span,
    /// When it is killed and counts as failed.
    pub timeout: Span,
    /// Reads a number from its output rather than its exit status.
    pub number: bool,
}

/// What is asked of processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessProbe {
    /// The target's name.
    pub target: String,
    /// Which processes: looked for anew each time.
    pub spec: ProcessSpec,
    /// Which number.
    pub stat: ProcessStat,
    /// How often.
    pub every: Span,
}

/// A number of processes, summed over all of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessStat {
    /// Memory that is resident, in MiB.
    Rss,
    /// Processor time in percent of one core.
    Cpu,
    /// Open descriptors.
    Descriptors,
    /// Threads.
    Threads,
    /// How many processes there are.
    Count,
}

impl ProcessStat {
    /// All of them with their words.
    pub const WORDS: [(&'static str, ProcessStat); 5] = [
        ("rss", ProcessStat::Rss),
        ("cpu", ProcessStat::Cpu),
        ("descriptors", ProcessStat::Descriptors),
        ("threads", ProcessStat::Threads),
        ("count", ProcessStat::Count),
    ];

    fn word(self) -> &'static str {
        ProcessStat::WORDS.iter().find(|(_, stat)| *stat == self).map_or("?", |(word, _)| word)
    }
}

/// A query to Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrometheusProbe {
    /// Where it is: `http://127.0.0.1:9090`.
    pub url: String,
    /// See [`Trust`].
    pub trust: Trust,
    /// The query, of one number or one series.
    pub query: String,
    /// How often.
    pub every: Span,
    /// When an answer counts as none.
    pub timeout: Span,
    /// How old what it rests on may be; none: as old as Prometheus lets it be.
    pub max_age: Option<Span>,
}

/// What a number must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Compared with a bound, in the unit of the number: milliseconds, percent, per second, or none.
    Bound {
        /// How.
        op: Compare,
        /// With what.
        value: f64,
    },
    /// It must grow from window to window.
    Increasing,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Compare {
    /// `<`
    #[serde(rename = "<")]
    Less,
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `>`
    #[serde(rename = ">")]
    More,
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `==`
    #[serde(rename = "==")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    Differs,
}

impl Compare {
    /// The signs, longest first so that `<=` is not read as `<`.
    pub const ALL: [(&'static str, Compare); 6] = [
        ("<=", Compare::AtMost),
        (">=", Compare::AtLeast),
        ("==", Compare::Equal),
        ("!=", Compare::Differs),
        ("<", Compare::Less),
        (">", Compare::More),
    ];

    /// Whether `a` compares so with `b`.
    pub fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Compare::Less => a < b,
            Compare::AtMost => a <= b,
            Compare::More => a > b,
            Compare::AtLeast => a >= b,
            Compare::Equal => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()).max(1.0),
            Compare::Differs => !Compare::Equal.holds(a, b),
        }
    }

    /// Its sign.
    pub fn sign(self) -> &'static str {
        Compare::ALL.iter().find(|(_, c)| *c == self).map_or("?", |(s, _)| s)
    }
}

impl Source {
    /// The unit of its number as it is printed after it.
    pub fn unit(&self) -> &'static str {
        match self {
            Source::Proxy { stat, .. } | Source::Load { stat, .. } => match stat {
                Stat::Latency(_) => "ms",
                Stat::Errors | Stat::Success => "%",
                Stat::Rate => "/s",
            },
            Source::Process(p) => match p.stat {
                ProcessStat::Rss => "MiB",
                ProcessStat::Cpu => "%",
                _ => "",
            },
            _ => "",
        }
    }

    /// Whether a probe answers with a number, and not with how often it succeeded.
    pub fn is_number(&self) -> bool {
        match self {
            Source::Command(p) => p.number,
            Source::Process(_) | Source::Prometheus(_) => true,
            _ => false,
        }
    }

    /// In a few words: `proxy payments latency p99`.
    pub fn describe(&self) -> String {
        let stat = |s: &Stat| match s {
            Stat::Latency(q) => format!("latency p{}", quantile_name(*q)),
            Stat::Errors => "errors".into(),
            Stat::Success => "success".into(),
            Stat::Rate => "rate".into(),
        };
        match self {
            Source::Proxy { target, stat: s } => format!("proxy {target} {}", stat(s)),
            Source::Load { load, stat: s } => format!("load {load} {}", stat(s)),
            Source::Http(p) => format!("GET {}", p.url),
            Source::Tcp(p) => format!("connect {}", p.address),
            Source::Command(p) => p.run.join(" "),
            Source::Process(p) => format!("process {} {}", p.target, p.stat.word()),
            Source::Prometheus(p) => p.query.clone(),
        }
    }
}

impl Expect {
    /// In a few words, with the unit of its source: `< 800ms`.
    pub fn describe(&self, unit: &str) -> String {
        match self {
            Expect::Bound { op, value } => format!("{} {}{unit}", op.sign(), trim(*value)),
            Expect::Increasing => "increasing".into(),
        }
    }
}

/// `0.99` as `99`, `0.999` as `99.9`.
pub fn quantile_name(q: f64) -> String {
    trim(q * 100.0)
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Open-loop load: requests start when they are due, whether or not earlier ones have been answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Where to: `http://` or `https://`.
    pub url: String,
    /// See [`Trust`].
    pub trust: Trust,
    /// The method.
    pub method: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, when there is one.
    pub body: Option<String>,
    /// When a request counts as failed.
    pub timeout: Span,
    /// The rates, one after the other; the last goes on until the run ends.
    pub stages: Vec<LoadStage>,
}

/// A rate for a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadStage {
    /// How long; none: until the run ends.
    pub lasts: Option<Span>,
    /// The rate at its begin.
    pub from: EventRate,
    /// The rate at its end.
    pub to: EventRate,
}

/// A part of the experiment with its faults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// How long it takes.
    pub lasts: Span,
    /// Whether the steady state must hold when it starts.
    pub require_steady: bool,
    /// What is done when it does not.
    pub otherwise: Otherwise,
    /// Its faults.
    pub faults: Vec<Planned>,
}

/// What is done when a stage may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// Go to the next one.
    #[default]
    Skip,
    /// End the run.
    Abort,
    /// Start it all the same.
    Continue,
}

/// A fault with its time in the stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// Its id, unique in the experiment.
    pub id: String,
    /// When it is armed.
    pub start: Start,
    /// The fault; its id is the same, its target's kind known.
    pub fault: Fault,
}

/// When a fault is armed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// So long after its stage began.
    At(Span),
    /// So long after another fault ended.
    After {
        /// The other fault's id.
        fault: String,
        /// How long after.
        delay: Span,
    },
}

/// What ends a run early, and what it must never do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Safety {
    /// How a person agrees before it starts.
    pub confirm: Confirm,
    /// How many targets may be under faults at once.
    pub max_targets_at_once: Option<u64>,
    /// The largest share of a target's traffic that may be hit.
    pub max_percent: Option<Percent>,
    /// The programs that command probes may run; none: those of this file.
    pub allow_commands: Option<Vec<String>>,
    /// A hard stop.
    pub max_duration: Option<Span>,
    /// Each fault ends unless it is renewed this often.
    pub lease: Span,
    /// Conditions that undo everything.
    pub abort_if: Vec<Guard>,
    /// How long a guard may be blind before it ends the run; none: for ever.
    pub on_unknown: Option<Span>,
    /// How long an undo may take to be verified.
    pub verify_within: Span,
}

/// How a person agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Not asked.
    #[default]
    None,
    /// `y`.
    Prompt,
    /// The experiment's name, typed.
    Typed,
}

/// A condition that ends the run and undoes everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// A metric compares so, for so long.
    Metric {
        /// The metric's name.
        metric: String,
        /// How.
        op: Compare,
        /// With what, in the metric's unit.
        value: f64,
        /// For how long.
        lasts: Span,
    },
    /// This machine is as loaded as that, for so long.
    Node {
        /// Of all its processors' time, in percent.
        cpu: Option<(Compare, f64)>,
        /// Of its memory what cannot be given to others, in percent.
        memory: Option<(Compare, f64)>,
        /// For how long.
        lasts: Span,
    },
    /// A file exists.
    File {
        /// Its path.
        path: String,
    },
}

/// What remains of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The directory, with `{name}` and `{start}` to be filled in; none: nothing is kept but what the command line asks for.
    pub dir: Option<String>,
    /// Which files.
    pub formats: Vec<Format>,
}

/// A file of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `result.json`
    Json,
    /// `report.md`
    Markdown,
    /// `report.html`
    Html,
    /// `junit.xml`
    Junit,
}

impl Format {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Format); 4] = [
        ("json", Format::Json),
        ("markdown", Format::Markdown),
        ("html", Format::Html),
        ("junit", Format::Junit),
    ];
}

impl Experiment {
    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|t| t.name == name)
    }

    /// All faults in the order of the file.
    pub fn faults(&self) -> impl Iterator<Item = &Planned> {
        self.stages.iter().flat_map(|s| &s.faults)
    }

    /// How long it takes when nothing ends it early.
    pub fn lasts(&self) -> Span {
        let stages: std::time::Duration = self.stages.iter().map(|s| s.lasts.0).sum();
        Span(self.steady_state.baseline.0 + stages + self.steady_state.cooldown.0)
    }

    /// A digest of what chance decides: for each fault its id, and of its first 1000 ordinals whether they are hit and
    /// the draw behind the amount. Time does not enter, so two runs with one seed have one digest.
    pub fn decisions_digest(&self, seed: u64) -> String {
        use crate::draw::{Lane, bits, derive};
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for planned in self.faults() {
            let seed = planned.fault.seed.unwrap_or_else(|| derive(seed, &planned.id));
            hash.update(planned.id.as_bytes());
            hash.update(planned.fault.inject.describe().as_bytes());
            for n in 0..1000 {
                hash.update([u8::from(planned.fault.share.takes(seed, n))]);
                hash.update(bits(seed, Lane::Amount, n).to_le_bytes());
            }
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}
