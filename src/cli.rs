//! The command line.

mod adjust;
mod arm;
mod ca;
mod connections;
mod export;
mod faults;
mod proxy;
pub mod requests;
mod run;
mod sidecar;
mod tcp;

pub use adjust::{Adjust, Condition};
pub use arm::{Arm, Mount};
pub use ca::{Ca, CaAct};
pub use connections::{ConnectionAct, Connections};
pub use export::Export;
pub use proxy::target_proxy;
pub use run::{Check, Demo, Run};
pub use sidecar::{
    Attach, InCluster, Manifests, Ports, Sidecar, SidecarAct, SidecarInit, SidecarInject, SidecarRun,
    SidecarWebhook,
};
pub use tcp::{Callers, Shown};

use faults::FaultName;
use proxy::proxy;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use model::Problem;
use model::units::Span;
use std::path::PathBuf;

/// What can go wrong, on demand: a fault injector for people who run services.
///
/// Begin with `murphy demo`. Exit codes: 0 held · 1 deviated · 2 the command line or a file is wrong · 3 inconclusive ·
/// 4 aborted by a guard or a person · 5 something failed, or an undo could not be verified.
#[derive(Debug, Parser)]
#[command(name = "murphy", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// `murphy exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  murphy exec --clock 100d -- ./worker          a machine that has been up for a hundred days longer
  murphy exec --clock monotonic=100d -- sh -c 'cat /proc/self/timens_offsets'
The wall clock of a program is changed while it runs: murphy arm process:PID clock offset=1h --for 60s")]
pub struct Exec {
    /// How far its clocks are ahead: monotonic=1h, boottime=1h, or 1h for both; negative: back
    #[arg(long, value_name = "CLOCK=OFFSET", required = true, allow_hyphen_values = true)]
    pub clock: Vec<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub program: Vec<String>,
}

/// `murphy doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Undo what dead agents have left: from their logs, and what is found on the machine without one
    #[arg(long)]
    pub fix: bool,
    /// How it is shown.
    #[command(flatten)]
    pub output: Output,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// A small shop under load, the proxy between its parts, and an experiment on it; needs nothing else
    Demo(Demo),
    /// Run an experiment file: baseline, faults, cooldown, verdict, report
    Run(Run),
    /// Read experiment files and say what is wrong with them
    Check(Check),
    /// Hold targets and faults for others: a control socket, and an API over it
    Agent(Agent),
    /// Serve a directory through our filesystem, so that faults can be armed on its files; until it is interrupted
    Mount(Mount),
    /// Be a Toxiproxy server: its clients, scripts and configuration files work as they are
    Toxiproxy(Toxiproxy),
    /// The console
    Tui(Tui),
    /// Arm a fault on a target, on an agent or in the foreground
    #[command(alias = "inject")]
    Arm(Box<Arm>),
    /// Start a program with other clocks, which its sleeps and timers go by too
    Exec(Exec),
    /// Change a fault that is on: its parameters, share, matcher or length
    Adjust(Adjust),
    /// Take a fault back
    Disarm(Disarm),
    /// What there is to break on this machine: containers, services, namespaces; and what is in the way of reaching more
    Targets(Targets),
    /// What is armed, and on what
    #[command(alias = "query")]
    List(List),
    /// The open connections of the proxies; close or hold one by hand
    Connections(Connections),
    /// The HTTP requests through the proxies, live; hold some by hand, see who asks most
    Requests(requests::Requests),
    /// Whether an agent answers, as an exit code: a health check that needs no shell
    Health(Health),
    /// Take everything back and let nothing be armed until the halt is lifted
    Halt(Halt),
    /// Be beside an application in its pod: install the redirect, run the proxy
    Sidecar(Sidecar),
    /// Be beside an application whose pod runs already: adds a container to it, which ends by itself
    Attach(Box<Attach>),
    /// Undo what a killed agent left behind
    Recover(Recover),
    /// What this machine can do, and what is missing for the rest
    Doctor(Doctor),
    /// The faults there are
    Faults(Faults),
    /// The JSON Schema of experiment files, for editors
    Schema,
    /// murphy's own certificate authority, for proxies that end TLS: make it, show it, export it
    Ca(Ca),
    /// Follow what happens as lines of text
    Watch(Watch),
    /// Completions for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The manual page, or those of all commands as files
    Man {
        /// Writes murphy.1 and a page for each command into this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// (internal) processor stress
    #[command(name = "__stress", hide = true, disable_help_flag = true)]
    Stress {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// (internal) watchdog
    #[command(name = "__watchdog", hide = true, disable_help_flag = true)]
    Watchdog {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Which agent is meant.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The agent: a socket's path, unix:PATH, http://HOST:PORT or https://HOST:PORT [default: the user's own]
    #[arg(long, env = "MURPHY_SOCKET", value_name = "AGENT", hide_env_values = true)]
    pub socket: Option<String>,
    /// What it is shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// How the console looks.
#[derive(Debug, Clone, Args)]
pub struct Look {
    /// What plots are drawn with
    #[arg(long, value_enum, default_value_t = MarkerKind::Braille)]
    pub marker: MarkerKind,
    /// Colours for a light or a dark terminal
    #[arg(long, value_enum, default_value_t = ThemeKind::Auto)]
    pub theme: ThemeKind,
}

/// What plots are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkerKind {
    /// Eight dots a cell.
    Braille,
    /// One dot a cell, for fonts without braille.
    Dots,
    /// Half blocks.
    Blocks,
}

/// Colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ThemeKind {
    /// As the terminal says, else dark.
    Auto,
    /// For a dark terminal.
    Dark,
    /// For a light terminal.
    Light,
}

/// `murphy agent`
#[derive(Debug, Args)]
pub struct Agent {
    /// The control socket's path [default: the user's own]
    #[arg(long, env = "MURPHY_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<String>,
    /// The group whose members may arm and disarm
    #[arg(long)]
    pub group: Option<String>,
    /// Listen on TCP too; beyond loopback only with a token or with certificates
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// Whom it lets in there.
    #[command(flatten)]
    pub callers: Callers,
    /// A proxy to open at once: NAME=LISTEN,UPSTREAM[,http][,tls][,upstream-tls,roots=FILE], see `arm --tls`; or in front of
    /// a container's port: NAME=in-front-of:PROJECT/SERVICE:PORT[,http]
    #[arg(long, value_name = "PROXY", value_parser = proxy)]
    pub proxy: Vec<(String, model::target::ProxySpec)>,
    /// How long faults outlive an agent that hangs
    #[arg(long, default_value = "15s", value_name = "DURATION")]
    pub lease: Span,
    /// Take everything back while this file exists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub halt_file: Option<PathBuf>,
    /// Serve Toxiproxy's clients there, too: 127.0.0.1:8474. They need no token, so anyone who reaches it may break things
    #[arg(long, value_name = "ADDRESS")]
    pub toxiproxy: Option<std::net::SocketAddr>,
    /// Who is told.
    #[command(flatten)]
    pub export: Export,
}

/// `murphy toxiproxy`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  murphy toxiproxy
  murphy toxiproxy -host 0.0.0.0 -port 8474 -config toxiproxy.json
Flags may be written with one dash, as toxiproxy-server takes them. docs/toxiproxy.md tells what differs.")]
pub struct Toxiproxy {
    /// Where to listen. The API has no authentication: beyond loopback anyone may use it
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// The port
    #[arg(long, default_value_t = control::toxiproxy::PORT)]
    pub port: u16,
    /// Proxies, and toxics, to begin with: the JSON that POST /populate takes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Count bytes at /metrics
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub proxy_metrics: bool,
    /// Tell of this process at /metrics
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub runtime_metrics: bool,
    /// The seed of every random choice: the same calls with the same seed hit the same connections
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<i64>,
    /// Toxics end so long after they came, at most 7d [default: they last until they are removed]
    #[arg(long, value_name = "DURATION")]
    pub max_for: Option<Span>,
    /// The control socket's path [default: the user's own, when no other agent has it]
    #[arg(long, env = "MURPHY_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<String>,
}

/// `murphy tui`
#[derive(Debug, Args)]
pub struct Tui {
    /// Agents to attach to: unix:PATH, http://HOST:PORT or https://HOST:PORT [default: the user's own; without one, one is started inside]
    #[arg(long, visible_alias = "socket", value_name = "AGENT")]
    pub attach: Vec<String>,
    /// Sidecars to attach to: those of the running pods that have these labels (app=web,tier=front), through the API server
    #[arg(long, value_name = "SELECTOR", conflicts_with = "attach")]
    pub kube: Option<String>,
    /// Which cluster and namespace --kube means.
    #[command(flatten)]
    pub cluster: InCluster,
    /// What they are shown.
    #[command(flatten)]
    pub shown: Shown,
    /// Only look; halting stays possible
    #[arg(long)]
    pub read_only: bool,
    /// A proxy to open in the agent inside: NAME=LISTEN,UPSTREAM[,http][,tls][,upstream-tls,roots=FILE]
    #[arg(long, value_name = "PROXY", value_parser = proxy, conflicts_with = "attach")]
    pub proxy: Vec<(String, model::target::ProxySpec)>,
    /// How the console looks.
    #[command(flatten)]
    pub look: Look,
}

/// `murphy disarm`
#[derive(Debug, Args)]
pub struct Disarm {
    /// Ids of faults, as `murphy list` shows them
    #[arg(required_unless_present = "all")]
    pub ids: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy targets`
#[derive(Debug, Args)]
#[command(after_help = "What it names can be armed: murphy arm container:shop-web-1 pause --for 10s, and
murphy arm proxy:shop/db:5432 latency delay=200ms --for 60s in front of a port of a compose service.")]
pub struct Targets {
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy list`
#[derive(Debug, Args)]
pub struct List {
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy health`
#[derive(Debug, Args)]
pub struct Health {
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy halt`
#[derive(Debug, Args)]
pub struct Halt {
    /// Lift the halt: faults may be armed again
    #[arg(long)]
    pub lift: bool,
    /// One agent: a socket's path, unix:PATH, http://HOST:PORT or https://HOST:PORT [default: every agent of this user]
    #[arg(long, value_name = "AGENT")]
    pub socket: Option<String>,
    /// What it is shown.
    #[command(flatten)]
    pub shown: Shown,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy faults`
#[derive(Debug, Args)]
pub struct Faults {
    /// One fault, with everything about it
    #[arg(value_parser = FaultName, hide_possible_values = true)]
    pub name: Option<String>,
    /// As the reference page
    #[arg(long, conflicts_with_all = ["json", "name"])]
    pub markdown: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Lines of text (there is no other form; the console is `murphy tui`)
    #[arg(long)]
    pub plain: bool,
    /// Only what comes from now on, without what is kept
    #[arg(long)]
    pub new: bool,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

fn target(text: &str) -> Result<model::TargetRef, String> {
    text.parse().map_err(|p: Problem| p.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

/// `path=/pay*`, or a whole matcher as JSON, which has no key of its own.
fn condition(text: &str) -> Result<(String, String), String> {
    if text.trim_start().starts_with('{') { Ok((String::new(), text.to_owned())) } else { pair(text) }
}
