//! `murphy sidecar` as it is typed.

use super::proxy::proxy;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use model::units::Span;
use pods::manifest::Beside;
use pods::ways::{self, Way};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `murphy sidecar`
#[derive(Debug, Args)]
pub struct Sidecar {
    /// What to do
    #[command(subcommand)]
    pub act: SidecarAct,
}

/// What is done beside an application.
#[derive(Debug, Subcommand)]
pub enum SidecarAct {
    /// Install the rules that lead a pod's ports through the proxy while it lives, and end; needs CAP_NET_ADMIN
    Init(SidecarInit),
    /// Be the proxy beside an application; needs no capability
    Run(SidecarRun),
    /// Manifests with the sidecar: Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, Pods, lists of them
    Inject(SidecarInject),
    /// The same manifests without it again
    Uninject(Manifests),
    /// Serve the admission webhook that gives pods the sidecar when they are made
    Webhook(SidecarWebhook),
    /// Whether the proxy beside the application is up: exit code 0 when it is
    Ready(SidecarReady),
}

/// The ports of a pod.
#[derive(Debug, Args)]
pub struct Ports {
    /// Ports that the pod is reached at: 8080, or web=8080/http to name the proxy and say what is spoken (tcp, http, tls)
    #[arg(long, value_name = "[NAME=]PORT[/SPEAKS]", value_delimiter = ',', value_parser = way)]
    pub inbound: Vec<Way>,
    /// Ports of others that the pod reaches: db=5432
    #[arg(long, value_name = "[NAME=]PORT[/SPEAKS]", value_delimiter = ',', value_parser = way)]
    pub outbound: Vec<Way>,
}

/// `murphy sidecar init`
#[derive(Debug, Args)]
pub struct SidecarInit {
    /// The ports.
    #[command(flatten)]
    pub ports: Ports,
    /// The user that the proxy runs as
    #[arg(long, default_value_t = ways::USER)]
    pub uid: u32,
    /// A port that leads to another past the proxy, for probes: 15300:8080
    #[arg(long, value_name = "FROM:TO", value_delimiter = ',', value_parser = past)]
    pub probe: Vec<(u16, u16)>,
    /// Take the rules away instead
    #[arg(long, conflicts_with_all = ["inbound", "outbound", "probe"])]
    pub remove: bool,
}

/// `murphy sidecar run`
#[derive(Debug, Args)]
pub struct SidecarRun {
    /// The ports.
    #[command(flatten)]
    pub ports: Ports,
    /// A proxy without a redirect: NAME=LISTEN,UPSTREAM[,http][,tls …]
    #[arg(long, value_name = "PROXY", value_parser = proxy)]
    pub proxy: Vec<(String, model::target::ProxySpec)>,
    /// The control socket's path [default: the user's own]
    #[arg(long, env = "MURPHY_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<String>,
    /// Serve the control API on TCP too; beyond loopback only with a token or with certificates
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The same on that port of all addresses, of both families where there are both
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    pub control: Option<u16>,
    /// Whom it lets in there.
    #[command(flatten)]
    pub callers: super::Callers,
    /// Install the redirect too, as this process's own: its rules end with it. Needs CAP_NET_ADMIN, CAP_SETUID and
    /// CAP_SETGID at the start, and gives them up
    #[arg(long)]
    pub owned: bool,
    /// With --owned: the user to become
    #[arg(long, default_value_t = ways::USER)]
    pub uid: u32,
    /// End after so long
    #[arg(long = "for", value_name = "DURATION")]
    pub lasts: Option<Span>,
    /// How many threads carry traffic. With one, which is enough for tens of thousands of requests a second, an idle proxy
    /// wakes for its heartbeat alone
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// How long open connections are served on when it is told to end
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub drain: Span,
}

/// Manifests that are read.
#[derive(Debug, Args)]
pub struct Manifests {
    /// A file with manifests in YAML or JSON; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `murphy sidecar inject`
#[derive(Debug, Args)]
#[command(after_help = "Workloads ask for it by annotations, on their pods or on themselves:
  murphy.dev/inject: \"true\"
  murphy.dev/inbound: site=http/http,9000    ports by number or name; when absent: all TCP ports of the containers
  murphy.dev/outbound: db=5432,cache=6379
  murphy.dev/mode: explicit                  no redirect and no capability; then
  murphy.dev/proxies: db=127.0.0.1:15432,db.shop.svc:5432; web=0.0.0.0:18080,127.0.0.1:8080,http
  murphy.dev/sidecar: container              for clusters before Kubernetes 1.29
  murphy.dev/image, murphy.dev/uid, murphy.dev/token-secret, murphy.dev/tls-secret, murphy.dev/roles
Example: helm template shop | murphy sidecar inject -f - | kubectl apply -f -")]
pub struct SidecarInject {
    /// The manifests.
    #[command(flatten)]
    pub manifests: Manifests,
    /// What workloads get.
    #[command(flatten)]
    pub defaults: Defaults,
    /// What kind of container the proxy is; clusters before Kubernetes 1.29 have no native ones
    #[arg(long, value_enum, default_value_t = BesideKind::Native)]
    pub sidecar: BesideKind,
    /// Workloads without the annotation too; one with murphy.dev/inject: "false" never
    #[arg(long)]
    pub all: bool,
}

/// What workloads get whose annotations do not say otherwise.
#[derive(Debug, Args)]
pub struct Defaults {
    /// murphy's image
    #[arg(long, env = "MURPHY_IMAGE", default_value_t = pods::manifest::Defaults::default().image)]
    pub image: String,
    /// How traffic gets to the proxy
    #[arg(long, value_enum, default_value_t = ModeKind::Redirect)]
    pub mode: ModeKind,
    /// Inbound ports [default: all TCP ports that the containers declare]
    #[arg(long, value_name = "PORTS")]
    pub inbound: Option<String>,
    /// Outbound ports
    #[arg(long, value_name = "PORTS", default_value = "")]
    pub outbound: String,
    /// A Secret whose key `token` opens the control API, which is served on port 15090 then
    #[arg(long, value_name = "SECRET")]
    pub token_secret: Option<String>,
    /// A Secret whose keys `tls.crt` and `tls.key` are the certificate of that API, and whose `ca.crt` is the authority of those
    /// whose certificates open it
    #[arg(long, value_name = "SECRET")]
    pub tls_secret: Option<String>,
    /// What the bearers of those certificates may do, by the names in them: ada=admin,ci=viewer [default: all are operators]
    #[arg(long, value_name = "NAME=ROLE,…")]
    pub roles: Option<String>,
}

/// `murphy sidecar webhook`
#[derive(Debug, Args)]
#[command(
    after_help = "deploy/kubernetes/webhook has its manifests: pods get the sidecar whose namespace has the label
murphy.dev/inject: enabled and that have the label murphy.dev/inject: \"true\" themselves."
)]
pub struct SidecarWebhook {
    /// Where to listen
    #[arg(long, default_value = "[::]:9443", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// A name that the API server reaches it by, for its certificate; several may be given
    #[arg(long, value_name = "NAME", default_value = "murphy-webhook.murphy.svc")]
    pub name: Vec<String>,
    /// Where its authority is kept, so that a new start has the same [default: in the state directory]
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub certs: Option<PathBuf>,
    /// How long a certificate is valid; it is renewed after two thirds of that
    #[arg(long, default_value = "30d", value_name = "DURATION")]
    pub lifetime: Span,
    /// Write the authority's certificate there, for the caBundle of the webhook's configuration
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_out: Option<PathBuf>,
    /// Set the caBundle of that MutatingWebhookConfiguration, as the pod's service account
    #[arg(long, value_name = "NAME")]
    pub configure: Option<String>,
    /// What kind of container the proxy is [default: with --configure, native if the API server has them; else native]
    #[arg(long, value_enum)]
    pub sidecar: Option<BesideKind>,
    /// What pods get.
    #[command(flatten)]
    pub defaults: Defaults,
}

/// `murphy attach`
#[derive(Debug, Args)]
#[command(
    after_help = "Example: murphy attach web-5d9f7c-x2x --outbound db=5432 --token-secret murphy-token --for 30m
Then:    murphy tui --kube app=web --token-file token
The pod's probes are not led past it, as they are with a sidecar from the start."
)]
pub struct Attach {
    /// The pod
    pub pod: String,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub cluster: InCluster,
    /// What it gets.
    #[command(flatten)]
    pub defaults: Defaults,
    /// When it ends, and with it the redirect and everything armed
    #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
    pub lasts: Span,
}

/// A namespace of a cluster, as kubectl takes it.
#[derive(Debug, Clone, Args)]
pub struct InCluster {
    /// The namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config, else the service account of the pod this is in]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
}

/// How traffic gets to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeKind {
    /// Rules lead named ports through it.
    Redirect,
    /// It listens on ports of its own.
    Explicit,
}

/// What kind of container the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BesideKind {
    /// Up before the others and over when they are.
    Native,
    /// One like the others.
    Container,
}

impl From<BesideKind> for Beside {
    fn from(kind: BesideKind) -> Beside {
        match kind {
            BesideKind::Native => Beside::Native,
            BesideKind::Container => Beside::Container,
        }
    }
}

impl From<Defaults> for pods::manifest::Defaults {
    fn from(d: Defaults) -> pods::manifest::Defaults {
        pods::manifest::Defaults {
            image: d.image,
            mode: match d.mode {
                ModeKind::Redirect => pods::manifest::Mode::Redirect,
                ModeKind::Explicit => pods::manifest::Mode::Explicit,
            },
            inbound: d.inbound,
            outbound: d.outbound,
            token_secret: d.token_secret,
            tls_secret: d.tls_secret,
            roles: d.roles,
            role: |text| text.parse::<control::tls::RoleRule>().map(drop).map_err(|e| e.to_string()),
            proxy: |text| proxy(text).map(drop),
            ..pods::manifest::Defaults::default()
        }
    }
}

/// `murphy sidecar ready`
#[derive(Debug, Args)]
pub struct SidecarReady {
    /// Which agent.
    #[command(flatten)]
    pub which: super::Which,
}

fn way(text: &str) -> Result<Way, String> {
    text.parse().map_err(|p: model::Problem| p.to_string())
}

fn past(text: &str) -> Result<(u16, u16), String> {
    let ports = text.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ports.filter(|(from, to)| *from > 0 && *to > 0).ok_or_else(|| "write it as 15300:8080".to_owned())
}
