use super::machine;
use super::names::check_name;
use super::stages::matcher;
use super::tls;
use crate::problem::Problem;
use crate::stub::Stub;
use crate::target::{
    Balance, HttpVersion, Protocol, ProxyHeader, ProxyProtocol, ProxySpec, Target, TargetKind, TargetSpec,
};
use crate::units::Span;
use crate::yaml::{Fields, Node, Reader};
use std::collections::BTreeMap;

/// Reads `targets`. What cannot be read is noted and left out.
pub(in crate::experiment) fn read(r: &Reader, top: &Fields<'_>) -> Vec<Target> {
    let Some(node) = r.need(
        top,
        "an experiment",
        "targets",
        "{web: {proxy: {listen: \"127.0.0.1:8001\", upstream: \"127.0.0.1:8000\"}}}",
    ) else {
        return vec![];
    };
    let entries = r.entries(node, "targets");
    if entries.is_empty() {
        r.refuse::<()>(node.place, "there are no targets", "name at least one thing to break");
    }
    let mut targets: Vec<Target> = Vec::new();
    for (key, value) in entries {
        if !check_name(r, key.place, &key.text) {
            continue;
        }
        if let Some(spec) = spec(r, value, &key.text) {
            if let (TargetSpec::Proxy(new), Some(other)) = (&spec, clash(&targets, &spec)) {
                r.refuse::<()>(
                    value.place,
                    format!("{} listens on {}, as {other} does", key.text, new.listen),
                    "give each proxy a port of its own",
                );
            }
            targets.push(Target { name: key.text.clone(), spec });
        }
    }
    targets
}

fn clash<'t>(targets: &'t [Target], spec: &TargetSpec) -> Option<&'t str> {
    let TargetSpec::Proxy(new) = spec else { return None };
    if new.listen.ends_with(":0") || new.listen.is_empty() {
        return None;
    }
    // A port of datagrams is not that port of connections.
    let datagrams = |p: &ProxySpec| p.protocol == Protocol::Udp;
    targets
        .iter()
        .find(|t| matches!(&t.spec, TargetSpec::Proxy(p) if p.listen == new.listen && datagrams(p) == datagrams(new)))
        .map(|t| t.name.as_str())
}

fn spec(r: &Reader, node: &Node, name: &str) -> Option<TargetSpec> {
    let kinds: Vec<&str> = TargetKind::ALL.iter().map(|k| k.word()).collect();
    let what = format!("target {name}");
    let f = r.fields(node, &what, &kinds)?;
    let given: Vec<&str> = kinds.iter().copied().filter(|k| f.has(k)).collect();
    match given[..] {
        ["proxy"] => proxy(r, f.get("proxy")?, &what),
        ["fs"] => machine::fs(r, f.get("fs")?, &what),
        ["process"] => machine::process(r, f.get("process")?, &what),
        ["container"] => machine::container(r, f.get("container")?, &what),
        ["netns"] => machine::netns(r, f.get("netns")?, &what),
        ["cgroup"] => machine::cgroup(r, f.get("cgroup")?, &what),
        ["node"] => machine::node(r, f.get("node")?, &what),
        [] => {
            r.refuse(node.place, format!("{what} has no kind"), format!("write one of {}", kinds.join(", ")))
        }
        _ => r.refuse(
            node.place,
            format!("{what} has several kinds: {}", given.join(", ")),
            "make it several targets",
        ),
    }
}

const PROXY_KEYS: [&str; 13] = [
    "listen",
    "in_front_of",
    "upstream",
    "upstreams",
    "stubs",
    "balance",
    "protocol",
    "idle_timeout",
    "proxy_protocol",
    "connect_timeout",
    "keep_source",
    "tls",
    "upstream_http",
];

fn proxy(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    let f = r.fields(node, what, &PROXY_KEYS)?;
    let in_front_of = match f.get("in_front_of") {
        Some(n) => Some(Box::new(machine::front(r, n, what)?)),
        None => None,
    };
    let listen = match &in_front_of {
        Some(_) if !f.has("listen") => Some(String::new()),
        _ => r.need(&f, what, "listen", "\"127.0.0.1:8001\"").and_then(|n| address(r, n, what, "listen")),
    };
    let stubs = match f.get("stubs") {
        Some(n) => stubs(r, n, what)?,
        None => Vec::new(),
    };
    let (upstream, upstreams) = match stubs.is_empty() || f.has("upstream") || f.has("upstreams") {
        true if in_front_of.is_some() && !f.has("upstream") && !f.has("upstreams") => {
            ("original".to_owned(), Vec::new())
        }
        true => upstreams(r, &f, node, what)?,
        false => (String::new(), Vec::new()),
    };
    let protocol = match f.get("protocol") {
        Some(n) => {
            let words = [Protocol::Tcp, Protocol::Http, Protocol::Udp].map(|p| (p.word(), p));
            r.choice(n, "protocol", &words)?
        }
        None => Protocol::Tcp,
    };
    if let Some(n) = f.get("stubs").filter(|_| protocol != Protocol::Http) {
        return r.refuse(
            n.place,
            format!("{what}: stubs answer requests, and it speaks {}", protocol.word()),
            "give the target protocol: http",
        );
    }
    let balance = match f.get("balance") {
        Some(n) if upstreams.is_empty() => {
            return r.refuse(
                n.place,
                format!("{what}: there is nothing to balance"),
                "name several services: upstreams: [\"10.0.0.1:80\", \"10.0.0.2:80\"]",
            );
        }
        Some(n) => r.choice(n, "balance", &Balance::WORDS)?,
        None => Balance::default(),
    };
    let idle_timeout = match f.get("idle_timeout") {
        Some(n) if protocol != Protocol::Udp => {
            return r.refuse(
                n.place,
                format!("{what}: idle_timeout is for datagrams"),
                "leave it out, or give the target protocol: udp",
            );
        }
        Some(n) => Some(r.parse(n, "idle_timeout")?),
        None => None,
    };
    let proxy_protocol = match f.get("proxy_protocol") {
        Some(n) => proxy_protocol(r, n, what)?,
        None => ProxyProtocol::default(),
    };
    if let (Protocol::Udp, Some(n)) = (protocol, f.get("connect_timeout").or(f.get("keep_source"))) {
        return r.refuse(
            n.place,
            format!("{what}: connect_timeout and keep_source are for connections, not datagrams"),
            "leave them out, or give the target protocol: tcp or http",
        );
    }
    let connect_timeout = match f.get("connect_timeout") {
        Some(n) => Some(connect_timeout(r, n, what)?),
        None => None,
    };
    let keep_source = match f.get("keep_source") {
        Some(n) => r.boolean(n, "keep_source")?,
        None => false,
    };
    let tls = match f.get("tls") {
        Some(n) => Some(Box::new(tls::read(r, n, what, protocol)?)),
        None => None,
    };
    let upstream_http = match f.get("upstream_http") {
        Some(n) if protocol != Protocol::Http => {
            return r.refuse(
                n.place,
                format!("{what}: upstream_http is for requests, and only bytes pass here"),
                "leave it out, or give the target protocol: http",
            );
        }
        Some(n) => r.choice(n, "upstream_http", &HttpVersion::WORDS)?,
        None => HttpVersion::default(),
    };
    let listen = listen?;
    let unix = |address: &&str| address.starts_with("unix:");
    let services = upstreams.iter().chain([&upstream]).map(String::as_str);
    if let Some(socket) = services.chain([listen.as_str()]).find(unix).filter(|_| keep_source) {
        return r.refuse(
            f.place_of("keep_source"),
            format!("{what}: keep_source does not go with {socket}: unix sockets have no addresses"),
            "leave it out, or listen on and lead to a host:port",
        );
    }
    if in_front_of.is_none() && (listen == upstream || upstreams.contains(&listen)) {
        return r.refuse(
            node.place,
            format!("{what} would be its own upstream"),
            "listen on another port than the service",
        );
    }
    let spec = ProxySpec {
        listen,
        in_front_of,
        upstream,
        upstreams,
        stubs,
        balance,
        protocol,
        idle_timeout,
        proxy_protocol,
        connect_timeout,
        keep_source,
        tls,
        upstream_http,
    };
    match spec.front_problem() {
        Some(problem) => {
            r.report(Problem { what: format!("{what}: {}", problem.what), ..problem }.at(node.place));
            None
        }
        None => Some(TargetSpec::Proxy(spec)),
    }
}

const STUB_KEYS: [&str; 5] = ["when", "status", "headers", "body", "delay"];

/// Answers in the service's place.
fn stubs(r: &Reader, list: &Node, what: &str) -> Option<Vec<Stub>> {
    let items = r.items(list, "stubs");
    if items.is_empty() {
        return r.refuse(
            list.place,
            format!("{what}: stubs is empty"),
            "give at least one answer: {status: 200}",
        );
    }
    let all: Vec<Option<Stub>> = items.iter().map(|n| stub(r, n, what)).collect();
    all.into_iter().collect()
}

fn stub(r: &Reader, node: &Node, what: &str) -> Option<Stub> {
    let f = r.fields(node, &format!("{what}: a stub"), &STUB_KEYS)?;
    let when = match f.get("when") {
        Some(n) => Some(matcher(r, n)?),
        None => None,
    };
    let status = match f.get("status") {
        Some(n) => r.integer(n, "status", 200, 599)? as u16,
        None => 200,
    };
    let headers = match f.get("headers") {
        Some(n) => {
            let pairs =
                r.entries(n, "headers").iter().map(|(k, v)| Some((k.text.clone(), r.text(v, &k.text)?)));
            pairs.collect::<Option<_>>()?
        }
        None => BTreeMap::new(),
    };
    let body = match f.get("body") {
        Some(n) => r.text(n, "body")?,
        None => String::new(),
    };
    let delay = match f.get("delay") {
        Some(n) => Some(r.parse(n, "delay")?),
        None => None,
    };
    let stub = Stub { when, status, headers, body, delay };
    match stub.problem() {
        Some(problem) => {
            r.report(problem.at(node.place));
            None
        }
        None => Some(stub),
    }
}

/// Either one service or several.
fn upstreams(r: &Reader, f: &Fields<'_>, node: &Node, what: &str) -> Option<(String, Vec<String>)> {
    let Some(list) = f.get("upstreams") else {
        let one = r.need(f, what, "upstream", "\"127.0.0.1:8000\"")?;
        return Some((address(r, one, what, "upstream")?, vec![]));
    };
    if f.has("upstream") {
        return r.refuse(
            node.place,
            format!("{what} has both upstream and upstreams"),
            "keep one of them: a group can have one member",
        );
    }
    let items = r.items(list, "upstreams");
    if items.is_empty() {
        return r.refuse(list.place, format!("{what}: upstreams is empty"), "name at least one host:port");
    }
    let all: Option<Vec<_>> = items.iter().map(|n| address(r, n, what, "upstream")).collect();
    Some((String::new(), all?))
}

fn proxy_protocol(r: &Reader, node: &Node, what: &str) -> Option<ProxyProtocol> {
    let f = r.fields(node, &format!("{what}: proxy_protocol"), &["in", "out"])?;
    let inbound = match f.get("in") {
        Some(n) => r.boolean(n, "in")?,
        None => false,
    };
    let outbound = match f.get("out") {
        Some(n) => Some(r.choice(n, "out", &[("v1", ProxyHeader::V1), ("v2", ProxyHeader::V2)])?),
        None => None,
    };
    Some(ProxyProtocol { inbound, outbound })
}

fn connect_timeout(r: &Reader, node: &Node, what: &str) -> Option<Span> {
    let span: Span = r.parse(node, "connect_timeout")?;
    if span.0.is_zero() {
        return r.refuse(
            node.place,
            format!("{what}: with a connect_timeout of zero no service would ever be reached"),
            "write for example 10s",
        );
    }
    Some(span)
}

/// `host:port`, `[::1]:port` or `:port`, which listens on loopback.
fn address(r: &Reader, node: &Node, what: &str, key: &str) -> Option<String> {
    let text = r.text(node, key)?;
    if key == "upstream" && text == "original" {
        return Some(text);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return r.refuse(
                node.place,
                format!("{what}: {key} {text:?} has no path"),
                "write for example unix:/run/shop.sock",
            );
        }
        return Some(text);
    }
    let host_of = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if let Some((from, to)) = host_of.and_then(|(_, ports)| ports.split_once('-')) {
        return match (from.parse::<u16>(), to.parse::<u16>()) {
            (Ok(from), Ok(to)) if 0 < from && from <= to => Some(text),
            _ => r.refuse(
                node.place,
                format!("{what}: {key} {text:?} is no range of ports"),
                "write for example 127.0.0.1:7000-7009",
            ),
        };
    }
    let port = text.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().map(|p| (host, p)));
    match port {
        Some(("", port)) if key == "listen" => Some(format!("127.0.0.1:{port}")),
        Some(("", _)) => {
            r.refuse(node.place, format!("{what}: {key} {text:?} has no host"), "write host:port")
        }
        Some((_, 0)) if key == "upstream" => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} has port 0"),
            "write the port of the service",
        ),
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} is not host:port"),
            "put an IPv6 address in brackets: \"[::1]:8000\"",
        ),
        Some((host, _)) if host.contains("//") || host.contains('/') => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} is not host:port"),
            "leave out http:// and the path",
        ),
        Some(_) => Some(text),
        None if text.contains("//") => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} is not host:port"),
            "leave out http:// and the path, and give the port",
        ),
        // A number alone is a port, of an address that is missing.
        None if text.parse::<u16>().is_ok() => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} has no address"),
            format!("write for example 127.0.0.1:{text}"),
        ),
        None => r.refuse(
            node.place,
            format!("{what}: {key} {text:?} has no port"),
            format!("write for example {text}:8000"),
        ),
    }
}
