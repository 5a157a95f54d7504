//! `murphy arm` and `murphy mount` as they are typed.

use super::faults::FaultName;
use super::proxy::{protocol, tls};
use super::{Output, Which, condition, pair};
use clap::{Args, ValueHint};
use model::Per;
use model::target::Protocol;
use model::units::{Percent, Size, Span};
use std::path::PathBuf;

/// `murphy arm`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  murphy arm proxy:cart latency delay=120ms jitter=40ms --percent 30% --for 60s
  murphy arm proxy:cart abort status=503 --when method=POST --when path='/pay*' --for 60s
  murphy arm proxy:shop/db:5432 latency delay=200ms --for 60s     in front of a container's port (compose project/service)
  murphy arm process:4711 pause --for 10s
  murphy arm node:self cpu load=80% --for 30s
Without an agent it holds the fault itself, in the foreground; a proxy then needs --listen and --upstream.
`murphy faults` lists the faults and their parameters.")]
pub struct Arm {
    /// What to break: kind:name
    pub target: String,
    /// The fault's name
    #[arg(value_parser = FaultName, hide_possible_values = true)]
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
    /// Who holds packets, for faults of the network: native (the kernel), emulated (murphy) or auto; the same as engine=…
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
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
    /// Mount in this container: its name, or PROJECT/SERVICE of a compose project
    #[arg(long, value_name = "NAME", conflicts_with = "pid")]
    pub container: Option<String>,
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
