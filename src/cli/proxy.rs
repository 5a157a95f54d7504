//! A proxy as it is typed: `NAME=LISTEN,UPSTREAM[,http][,tls …]`.

use model::Problem;
use model::target::Protocol;

/// What can be said of a proxy's TLS, with what it means.
const TLS_WORDS: &str = "tls (it ends here), pass-through, upstream-tls, insecure, cert=FILE, key=FILE, roots=FILE, sni=NAME, \
                         client-cert=FILE, client-key=FILE";

/// What is spoken.
pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "http" => Ok(Protocol::Http),
        "udp" => Ok(Protocol::Udp),
        _ => Err("write tcp, http or udp".to_owned()),
    }
}

/// `NAME=LISTEN,UPSTREAM[,http][,tls …]`
pub(super) fn proxy(text: &str) -> Result<(String, model::target::ProxySpec), String> {
    let shape = || {
        "write it as name=listen,upstream or name=listen,upstream,http: cart=127.0.0.1:8001,127.0.0.1:8000,http".to_owned()
    };
    let (name, rest) = text.split_once('=').ok_or_else(shape)?;
    if let Some(front) = rest.strip_prefix("in-front-of:") {
        return Ok((name.to_owned(), in_front_of(front)?));
    }
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

/// `shop/db:5432[,http]`: in front of a container's port.
fn in_front_of(text: &str) -> Result<model::target::ProxySpec, String> {
    let shape = "write it as name=in-front-of:project/service:port or name=in-front-of:container:port, and ,http for requests";
    let (who, speaks) = text.split_once(',').unwrap_or((text, "tcp"));
    let front = model::target::Front::implied(who).ok_or(shape)?;
    let spec = model::target::ProxySpec::in_front_of(front, protocol(speaks)?);
    match spec.front_problem() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(spec),
    }
}

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
pub(super) fn tls(text: &str) -> Result<model::target::TlsSpec, String> {
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
