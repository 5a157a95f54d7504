//! What is asked for: on the command line, and by annotations of a pod, which have the last word.

use super::tree::Node;
use crate::ways::{self, Way};
use model::Problem;

/// The beginning of every annotation and label of ours.
pub const PREFIX: &str = "murphy.dev/";
/// The annotation that asks for murphy, and the label that the webhook looks for.
pub const INJECT: &str = "murphy.dev/inject";
/// The annotation that remembers what was there before.
pub const STATUS: &str = "murphy.dev/status";

/// Annotations that there are, besides [`STATUS`].
const KNOWN: [&str; 11] = [
    "inject",
    "mode",
    "inbound",
    "outbound",
    "proxies",
    "image",
    "uid",
    "token-secret",
    "tls-secret",
    "roles",
    "sidecar",
];

/// How traffic gets to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Rules lead named ports through it.
    #[default]
    Redirect,
    /// It listens on ports of its own, and whoever wants to pass through it says so. Needs no capability anywhere.
    Explicit,
}

/// What kind of container the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beside {
    /// A native sidecar: up before the others, over when they are. Since Kubernetes 1.29.
    #[default]
    Native,
    /// A container like the others, for clusters before that: it begins when they do, and does not end with them.
    Container,
}

/// What is asked for where no annotation says otherwise.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Whether workloads get murphy that do not ask for it. One that refuses it never does.
    pub all: bool,
    /// How traffic gets to the proxy.
    pub mode: Mode,
    /// The image.
    pub image: String,
    /// The user that the proxy runs as.
    pub user: u32,
    /// Inbound ports; none: those that the containers declare.
    pub inbound: Option<String>,
    /// Outbound ports.
    pub outbound: String,
    /// The Secret whose key `token` opens the control API, which is served on TCP then.
    pub token_secret: Option<String>,
    /// The Secret whose certificate (`tls.crt`, `tls.key`) that API shows, and whose authority (`ca.crt`) its callers must be
    /// of; it is served on TCP then, too.
    pub tls_secret: Option<String>,
    /// What those callers may do: `ada=admin,ci=viewer`.
    pub roles: Option<String>,
    /// Says what is wrong with roles, as `--role` takes them.
    pub role: fn(&str) -> Result<(), String>,
    /// What kind of container the proxy is.
    pub beside: Beside,
    /// Says what is wrong with a proxy of the explicit mode, as `--proxy` takes it: a sidecar that cannot read it would keep
    /// its pod from starting.
    pub proxy: fn(&str) -> Result<(), String>,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            all: false,
            mode: Mode::Redirect,
            image: format!("murphy:{}", env!("CARGO_PKG_VERSION")),
            user: ways::USER,
            inbound: None,
            outbound: String::new(),
            token_secret: None,
            tls_secret: None,
            roles: None,
            role: |_| Ok(()),
            beside: Beside::default(),
            proxy: |_| Ok(()),
        }
    }
}

/// What one pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub(super) mode: Mode,
    pub(super) image: String,
    pub(super) user: u32,
    pub(super) inbound: Option<String>,
    pub(super) outbound: String,
    /// Proxies of the explicit mode, as `--proxy` takes them.
    pub(super) proxies: Vec<String>,
    pub(super) token_secret: Option<String>,
    pub(super) tls_secret: Option<String>,
    /// As `--role` takes them.
    pub(super) roles: Vec<String>,
    pub(super) beside: Beside,
}

/// Whether a pod, whose annotations and those of its owner are given, wants murphy; none: it does not say.
pub(super) fn wants(annotations: &[Option<&Node>]) -> Option<bool> {
    word(annotations, INJECT).map(|text| matches!(text, "true" | "enabled" | "yes"))
}

/// Reads what a pod asks for. The first annotations count for more.
pub(super) fn read(annotations: &[Option<&Node>], defaults: &Defaults) -> Result<Options, Problem> {
    for (key, _) in annotations.iter().flatten().flat_map(|a| a.entries()) {
        let Some(rest) = key.as_text().and_then(|k| k.strip_prefix(PREFIX)) else { continue };
        if rest != "status" && !KNOWN.contains(&rest) {
            let hint = match model::problem::did_you_mean(rest, KNOWN) {
                Some(near) => format!("did you mean {PREFIX}{near}?"),
                None => format!("there are {}", KNOWN.map(|k| format!("{PREFIX}{k}")).join(", ")),
            };
            return Err(Problem::new(format!("the annotation {PREFIX}{rest} is not known")).hint(hint));
        }
    }
    let word = |key: &str| word(annotations, &format!("{PREFIX}{key}")).map(str::to_owned);
    let mode = match word("mode").as_deref() {
        None => defaults.mode,
        Some("redirect") => Mode::Redirect,
        Some("explicit") => Mode::Explicit,
        Some(other) => {
            return Err(Problem::new(format!("{PREFIX}mode is {other:?}")).hint("write redirect or explicit"));
        }
    };
    let beside = match word("sidecar").as_deref() {
        None => defaults.beside,
        Some("native") => Beside::Native,
        Some("container") => Beside::Container,
        Some(other) => {
            return Err(Problem::new(format!("{PREFIX}sidecar is {other:?}"))
                .hint("write native, or container for clusters before Kubernetes 1.29"));
        }
    };
    let user = match word("uid") {
        None => defaults.user,
        Some(text) => match text.parse() {
            Ok(user @ 1..) => user,
            _ => {
                return Err(Problem::new(format!("{PREFIX}uid is {text:?}"))
                    .hint("write the number of a user that no container of the pod runs as, and not 0"));
            }
        },
    };
    let proxies = word("proxies").unwrap_or_default();
    let proxies: Vec<String> =
        proxies.split([';', '\n']).map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    for proxy in &proxies {
        (defaults.proxy)(proxy).map_err(|why| {
            Problem::new(format!("{PREFIX}proxies has {proxy:?}: {why}"))
                .hint("write NAME=LISTEN,UPSTREAM[,http], several with ; between: db=127.0.0.1:15432,db.shop.svc:5432")
        })?;
    }
    let tls_secret = word("tls-secret").or_else(|| defaults.tls_secret.clone());
    let roles = word("roles").or_else(|| defaults.roles.clone()).unwrap_or_default();
    let roles: Vec<String> =
        roles.split([',', '\n']).map(str::trim).filter(|r| !r.is_empty()).map(str::to_owned).collect();
    for role in &roles {
        (defaults.role)(role).map_err(|why| {
            let (what, how) = why.split_once(": ").unwrap_or((&why, "write ada=admin,ci=viewer"));
            Problem::new(format!("{PREFIX}roles: {what}")).hint(how)
        })?;
    }
    if tls_secret.is_none() && !roles.is_empty() {
        return Err(Problem::new(format!(
            "{PREFIX}roles is for names in certificates, and none are asked for"
        ))
        .hint(format!("name a Secret with {PREFIX}tls-secret; who shows a token is an operator")));
    }
    Ok(Options {
        mode,
        image: word("image").unwrap_or_else(|| defaults.image.clone()),
        user,
        inbound: word("inbound").or_else(|| defaults.inbound.clone()),
        outbound: word("outbound").unwrap_or_else(|| defaults.outbound.clone()),
        proxies,
        token_secret: word("token-secret").or_else(|| defaults.token_secret.clone()),
        tls_secret,
        roles,
        beside,
    })
}

fn word<'a>(annotations: &[Option<&'a Node>], key: &str) -> Option<&'a str> {
    annotations.iter().flatten().find_map(|a| a.word(key))
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: Option<String>,
    pub(super) port: u16,
}

/// The TCP ports that containers declare.
pub(super) fn declared<'a>(containers: impl Iterator<Item = &'a Node>) -> Vec<Declared> {
    let ports = containers.flat_map(|c| c.get("ports").map(Node::items).unwrap_or_default());
    let tcp = ports.filter(|p| p.word("protocol").is_none_or(|protocol| protocol == "TCP"));
    let each = tcp.filter_map(|p| {
        let port = p.word("containerPort")?.parse().ok()?;
        Some(Declared { name: p.word("name").map(str::to_owned), port })
    });
    each.collect()
}

/// Inbound ports: as named, by number or by the name that a container gave them; else all that are declared.
pub(super) fn inbound(
    asked: Option<&str>,
    declared: &[Declared],
    outbound: &[Way],
) -> Result<Vec<Way>, Problem> {
    let Some(text) = asked else {
        let mut ways: Vec<Way> = Vec::new();
        for d in declared {
            if ways.iter().any(|w| w.port == d.port) {
                continue;
            }
            let taken = |name: &&String| {
                ways.iter().chain(outbound).any(|w| w.name.as_ref() == Some(*name))
                    || name.starts_with("in-")
                    || name.starts_with("out-")
            };
            let name = d.name.as_ref().filter(|name| !taken(name)).cloned();
            ways.push(Way { name, port: d.port, speaks: ways::Speaks::Tcp });
        }
        return Ok(ways);
    };
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut ways = Vec::new();
    for part in text.split([',', ' ']).filter(|p| !p.is_empty()) {
        let (name, rest) = part.split_once('=').map_or((None, part), |(name, rest)| (Some(name), rest));
        let (port, speaks) = rest.split_once('/').map_or((rest, None), |(port, speaks)| (port, Some(speaks)));
        let found = declared.iter().find(|d| d.name.as_deref() == Some(port));
        let whole = match found {
            Some(d) => {
                let speaks = speaks.map_or(String::new(), |s| format!("/{s}"));
                format!("{}={}{speaks}", name.unwrap_or(port), d.port)
            }
            None if !port.is_empty() && !port.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(Problem::new(format!("no container declares a TCP port named {port:?}"))
                    .hint("name a port of a container, or write its number"));
            }
            None => part.to_owned(),
        };
        ways.push(whole.parse()?);
    }
    Ok(ways)
}
