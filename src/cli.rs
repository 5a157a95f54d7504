//! The command line.

pub mod requests;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use model::target::Protocol;
use model::units::{Percent, Size, Span};
use model::{Per, Problem};
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
    /// Take a fault back
    Disarm(Disarm),
    /// What is armed, and on what
    #[command(alias = "query")]
    List(List),
    /// The open connections of the proxies; close or hold one by hand
    Connections(Connections),
    /// The HTTP requests through the proxies, live; hold some by hand, see who asks most
    Requests(requests::Requests),
    /// Take everything back and let nothing be armed until the halt is lifted
    Halt(Halt),
    /// Undo what a killed agent left behind
    Recover(Recover),
    /// What this machine can do, and what is missing for the rest
    Doctor(Output),
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
    /// The manual page
    Man,
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
    /// The agent: a socket's path, unix:PATH or http://HOST:PORT [default: the user's own]
    #[arg(long, env = "MURPHY_SOCKET", value_name = "AGENT", hide_env_values = true)]
    pub socket: Option<String>,
    /// A file with the token for an agent reached over TCP
    #[arg(long, env = "MURPHY_TOKEN_FILE", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
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

/// `murphy demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Without the console: lines of text, the verdict, the report's path
    #[arg(long)]
    pub headless: bool,
    /// How long the whole experiment takes, 20s at least
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    pub lasts: Span,
    /// The seed of every random choice
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the report goes
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Print the experiment that would be run, and end
    #[arg(long)]
    pub print: bool,
    /// How the console looks.
    #[command(flatten)]
    pub look: Look,
}

/// `murphy run`
#[derive(Debug, Args)]
pub struct Run {
    /// The experiment file; - reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Set a variable of the file: --set slow=800ms
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// The seed of every random choice, in place of the file's
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the report goes, in place of the file's; a directory per run is made in it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Print what would be done and how it would be undone, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// The experiment's name, where the file asks for it to be typed
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Show it on the console
    #[arg(long)]
    pub tui: bool,
    /// How the console looks.
    #[command(flatten)]
    pub look: Look,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy check`
#[derive(Debug, Args)]
pub struct Check {
    /// Experiment files; - reads standard input
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Set a variable of the files
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
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
    /// Listen on TCP too; beyond loopback only with --token-file
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// A file with the token that TCP callers must show (256 bits or more: openssl rand -hex 32)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// A proxy to open at once: NAME=LISTEN,UPSTREAM[,http][,tls][,upstream-tls,roots=FILE]; see `arm --tls`
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
    /// Agents to attach to: unix:PATH or http://HOST:PORT [default: the user's own; without one, one is started inside]
    #[arg(long, value_name = "AGENT")]
    pub attach: Vec<String>,
    /// A file with the token for agents reached over TCP
    #[arg(long, env = "MURPHY_TOKEN_FILE", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
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

/// `murphy arm`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  murphy arm proxy:cart latency delay=120ms jitter=40ms --percent 30% --for 60s
  murphy arm proxy:cart abort status=503 --when method=POST --when path='/pay*' --for 60s
  murphy arm process:4711 pause --for 10s
  murphy arm node:self cpu load=80% --for 30s
Without an agent it holds the fault itself, in the foreground; a proxy then needs --listen and --upstream.
`murphy faults` lists the faults and their parameters.")]
pub struct Arm {
    /// What to break: kind:name
    pub target: String,
    /// The fault's name
    pub fault: String,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// How long
    #[arg(long = "for", value_name = "DURATION")]
    pub lasts: Option<Span>,
    /// The share of connections, requests or operations that is hit: 30%
    #[arg(long, value_name = "SHARE", group = "share")]
    pub percent: Option<Percent>,
    /// Hit every n-th
    #[arg(long, value_name = "N", group = "share", value_parser = clap::value_parser!(u64).range(1..))]
    pub nth: Option<u64>,
    /// Hit the first n
    #[arg(long, value_name = "N", group = "share", value_parser = clap::value_parser!(u64).range(1..))]
    pub first: Option<u64>,
    /// Let the share count for each of them by itself: client, header.NAME or cookie.NAME
    #[arg(long, value_name = "KEY", value_parser = |text: &str| text.parse::<Per>().map_err(|p| p.to_string()))]
    pub per: Option<Per>,
    /// What it must match: method=POST, path='/pay*', header.x-user='beta-*', client=10.0.0.0/8; any and not as JSON
    #[arg(long, value_name = "KEY=VALUE", value_parser = condition)]
    pub when: Vec<(String, String)>,
    /// The seed of its decisions
    #[arg(long)]
    pub seed: Option<u64>,
    /// The name it goes by
    #[arg(long)]
    pub id: Option<String>,
    /// It ends this long after the last renewal
    #[arg(long, value_name = "DURATION")]
    pub lease: Option<Span>,
    /// Where the proxy listens, when it is not open yet
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    pub listen: Option<String>,
    /// Where its service is
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub upstream: Option<String>,
    /// What it speaks
    #[arg(long, value_parser = protocol, default_value = "tcp")]
    pub protocol: Protocol,
    /// TLS of the proxy: tls (it ends here) or pass-through; upstream-tls, roots=FILE, sni=NAME, client-cert=FILE,
    /// client-key=FILE, insecure; cert=FILE, key=FILE
    #[arg(long, value_parser = tls, value_name = "WORDS", requires = "listen")]
    pub tls: Option<model::target::TlsSpec>,
    /// Print what would be done and how it would be undone, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy mount`
#[derive(Debug, Args)]
pub struct Mount {
    /// The directory that programs use
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// The directory whose files are served [default: DIR itself, as it is underneath]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub source: Option<PathBuf>,
    /// Mount in the mount namespace of this process: DIR and the source are paths as it sees them
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Keep a log of what is not synced, of at most so many bytes, so that power_cut can take it
    #[arg(long, value_name = "SIZE", num_args = 0..=1, default_missing_value = "256MiB")]
    pub track_unsynced: Option<Size>,
    /// Let the kernel collect writes: faster, and a write that fails is told by fsync
    #[arg(long)]
    pub writeback: bool,
    /// Files that the kernel reads and writes by itself, by globs such as '/cache/*': full speed, and no faults there
    #[arg(long, value_name = "GLOB")]
    pub passthrough: Vec<String>,
    /// The control socket [default: one in the state directory]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
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

/// `murphy connections`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  murphy connections --target proxy:web --fault
  murphy connections --text 'held 10.0.3' --sort bytes
  murphy connections hold 17 --for 30s
  murphy connections close 17 --rst"
)]
pub struct Connections {
    /// What to do with one; without it they are listed.
    #[command(subcommand)]
    pub act: Option<ConnectionAct>,
    /// Only those through this target: proxy:web
    #[arg(long, value_name = "TARGET", value_parser = target)]
    pub target: Option<model::TargetRef>,
    /// Only those that a fault has
    #[arg(long)]
    pub fault: bool,
    /// Only those in which these words stand: in addresses, state, the faults' names and ids
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub text: String,
    /// Which come first: age (the oldest), newest, bytes (those that carried most)
    #[arg(long, default_value = "age", value_parser = sort)]
    pub sort: control::Sort,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = control::connections::LIMIT)]
    pub limit: usize,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What is done with a connection by hand.
#[derive(Debug, Subcommand)]
pub enum ConnectionAct {
    /// End a connection, in order or by a reset; it cannot be undone
    Close {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// By a reset
        #[arg(long)]
        rst: bool,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let nothing pass on a connection until it is released
    Hold {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// How long at most
        #[arg(long = "for", value_name = "DURATION", default_value_t = control::connections::HOLD_LEASE)]
        lease: Span,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let a held connection go on
    Release {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// `murphy halt`
#[derive(Debug, Args)]
pub struct Halt {
    /// Lift the halt: faults may be armed again
    #[arg(long)]
    pub lift: bool,
    /// One agent: a socket's path, unix:PATH or http://HOST:PORT [default: every agent of this user]
    #[arg(long, value_name = "AGENT")]
    pub socket: Option<String>,
    /// A file with the token for an agent reached over TCP
    #[arg(long, env = "MURPHY_TOKEN_FILE", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
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
    pub name: Option<String>,
    /// As the reference page
    #[arg(long, conflicts_with_all = ["json", "name"])]
    pub markdown: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy ca`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The first use makes a root and its key in the state directory (ca/), once; proxies with tls: {downstream:
terminate} sign with it. Clients that shall believe them must trust the root:
  curl --cacert $(murphy ca path) https://…
  Python, Go, Ruby, PHP   SSL_CERT_FILE=$(murphy ca path) (Python requests: REQUESTS_CA_BUNDLE)
  Node.js                 NODE_EXTRA_CA_CERTS=$(murphy ca path)
  Java                    keytool -importcert -noprompt -alias murphy -file $(murphy ca path) -keystore trust.p12 -storepass changeit
                          java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit …
  the whole system        cp $(murphy ca path) /usr/local/share/ca-certificates/murphy.crt && update-ca-certificates
Whoever has the key can pose as any host to those clients: trust the root on test machines only, and never export the key."
)]
pub struct Ca {
    /// What to do; without it the root is shown.
    #[command(subcommand)]
    pub act: Option<CaAct>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What is done with murphy's CA.
#[derive(Debug, Subcommand)]
pub enum CaAct {
    /// Whose name stands in the root, its fingerprint, how long it is valid, where it lies
    Show {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The path of the root's PEM file
    Path,
    /// The root as PEM; the key stays
    Export {
        /// Into this file instead of standard output
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// The list of revoked certificates as PEM, for clients that check one: curl --crlfile, openssl -crl_check
    Crl {
        /// Into this file instead of standard output
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
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

fn sort(text: &str) -> Result<control::Sort, String> {
    text.parse().map_err(|()| "write age, newest or bytes".to_owned())
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

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "http" => Ok(Protocol::Http),
        "udp" => Ok(Protocol::Udp),
        _ => Err("write tcp, http or udp".to_owned()),
    }
}

/// `NAME=LISTEN,UPSTREAM[,http][,tls …]`
fn proxy(text: &str) -> Result<(String, model::target::ProxySpec), String> {
    let shape = || {
        "write it as name=listen,upstream or name=listen,upstream,http: cart=127.0.0.1:8001,127.0.0.1:8000,http".to_owned()
    };
    let (name, rest) = text.split_once('=').ok_or_else(shape)?;
    let parts: Vec<&str> = rest.split(',').collect();
    let (listen, upstream, words) = match parts[..] {
        [listen, upstream, ref words @ ..] => (listen, upstream, words),
        _ => return Err(shape()),
    };
    let (speaks, words) = match words {
        [first, rest @ ..] if ["tcp", "http", "udp"].contains(first) => (protocol(first)?, rest),
        [first, ..] if !is_tls_word(first) => return Err(protocol(first).err().unwrap_or_default()),
        words => (Protocol::Tcp, words),
    };
    let tls = tls_words(words)?;
    let target = target_proxy(name, listen, upstream, speaks, tls.as_ref()).map_err(|p| p.to_string())?;
    Ok((name.to_owned(), target))
}

/// What can be said of a proxy's TLS, with what it means.
const TLS_WORDS: &str = "tls (it ends here), pass-through, upstream-tls, insecure, cert=FILE, key=FILE, roots=FILE, sni=NAME, \
                         client-cert=FILE, client-key=FILE";

fn is_tls_word(word: &str) -> bool {
    let key = word.split_once('=').map_or(word, |(key, _)| key);
    [
        "tls",
        "pass-through",
        "upstream-tls",
        "insecure",
        "cert",
        "key",
        "roots",
        "sni",
        "client-cert",
        "client-key",
    ]
    .contains(&key)
}

/// `tls,upstream-tls,roots=ca.pem`
fn tls(text: &str) -> Result<model::target::TlsSpec, String> {
    let words: Vec<&str> = text.split(',').collect();
    tls_words(&words)?.ok_or_else(|| format!("it can be {TLS_WORDS}"))
}

fn tls_words(words: &[&str]) -> Result<Option<model::target::TlsSpec>, String> {
    use model::target::{Downstream, KeyPair, OriginateSpec, TlsSpec};
    if words.is_empty() {
        return Ok(None);
    }
    let mut tls = TlsSpec::default();
    let mut up: Option<OriginateSpec> = None;
    let (mut pair, mut client) = ([None, None], [None, None]);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("tls", "") => tls.downstream = Some(Downstream::Terminate),
            ("pass-through", "") => tls.downstream = Some(Downstream::PassThrough),
            ("upstream-tls", "") => drop(up.get_or_insert_default()),
            ("insecure", "") => up.get_or_insert_default().insecure = true,
            (_, "") => return Err(format!("{word:?} is not known: it can be {TLS_WORDS}")),
            ("cert", file) => pair[0] = Some(file.to_owned()),
            ("key", file) => pair[1] = Some(file.to_owned()),
            ("roots", file) => up.get_or_insert_default().roots = Some(file.to_owned()),
            ("sni", name) => up.get_or_insert_default().sni = Some(name.to_owned()),
            ("client-cert", file) => client[0] = Some(file.to_owned()),
            ("client-key", file) => client[1] = Some(file.to_owned()),
            _ => return Err(format!("{word:?} is not known: it can be {TLS_WORDS}")),
        }
    }
    let both = |pair: [Option<String>; 2], names: &str| match pair {
        [Some(cert), Some(key)] => Ok(Some(KeyPair { cert, key })),
        [None, None] => Ok(None),
        _ => Err(format!("{names} go together: give both")),
    };
    tls.certificate = both(pair, "cert and key")?;
    if let Some(certificate) = both(client, "client-cert and client-key")? {
        up.get_or_insert_default().certificate = Some(certificate);
    }
    tls.upstream = up;
    Ok(Some(tls))
}

/// Checks a proxy by the same rules as an experiment file.
pub fn target_proxy(
    name: &str,
    listen: &str,
    upstream: &str,
    protocol: Protocol,
    tls: Option<&model::target::TlsSpec>,
) -> Result<model::target::ProxySpec, Problem> {
    let speaks = protocol.word();
    let quote = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
    // JSON is YAML, too.
    let tls = tls.map_or(String::new(), |tls| format!(", tls: {}", serde_json::json!(tls)));
    let file = format!(
        "murphy: 1\ntargets: {{{}: {{proxy: {{listen: {}, upstream: {}, protocol: {speaks}{tls}}}}}}}\nstages: [{{faults: [{{target: {}, for: 1s, inject: {{blackhole: }}}}]}}]\n",
        quote(name),
        quote(listen),
        quote(upstream),
        quote(name)
    );
    let problem = |p: model::Problems| {
        p.list
            .into_iter()
            .next()
            .map_or_else(|| Problem::new("it does not read"), |p| Problem { place: None, ..p })
    };
    let experiment = model::experiment::read("command line", &file, &std::collections::BTreeMap::new())
        .map_err(problem)?;
    match experiment.targets.into_iter().next().map(|t| t.spec) {
        Some(model::TargetSpec::Proxy(spec)) => Ok(spec),
        _ => Err(Problem::new("it is no proxy")),
    }
}
