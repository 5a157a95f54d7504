//! Who we are to a cluster, and where its API server is: the service account of a pod, or a kubeconfig.

use super::{Cluster, Who};
use crate::manifest::tree::{Node, parse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why it is not known how to reach a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// This is no pod, or one without a service account.
    #[error(
        "there is no service account here ({0}); run it in a pod whose account may do it, or with a kubeconfig"
    )]
    NoAccount(String),
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}; name a kubeconfig with --kubeconfig or KUBECONFIG")]
    File(String, String),
    /// A kubeconfig does not say what is needed.
    #[error("{0}: {1}; look at it with `kubectl config view`")]
    Config(String, String),
    /// The program that says who we are did not.
    #[error("the program {0} that says who you are failed: {1}; log in again")]
    Program(String, String),
}

impl Cluster {
    /// The cluster that this is a pod of.
    pub fn of_this_pod() -> Result<Cluster, ConfigError> {
        let var = |name: &str| {
            std::env::var(name).map_err(|_| ConfigError::NoAccount(format!("{name} is not set")))
        };
        Cluster::of_account(
            Path::new(ACCOUNT),
            &var("KUBERNETES_SERVICE_HOST")?,
            &var("KUBERNETES_SERVICE_PORT")?,
        )
    }

    /// The same with the account in that directory.
    pub fn of_account(dir: &Path, host: &str, port: &str) -> Result<Cluster, ConfigError> {
        let read = |name: &str| {
            std::fs::read_to_string(dir.join(name))
                .map_err(|e| ConfigError::NoAccount(format!("{}: {e}", dir.join(name).display())))
        };
        let bad = |why: &str| ConfigError::NoAccount(why.to_owned());
        let roots = roots(read("ca.crt")?.as_bytes()).map_err(|e| bad(&e))?;
        let config = builder(roots).map_err(|e| bad(&e))?.with_no_client_auth();
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| bad("KUBERNETES_SERVICE_HOST is no host"))?;
        Ok(Cluster {
            host: host.to_owned(),
            port: port.parse().map_err(|_| bad("KUBERNETES_SERVICE_PORT is no port"))?,
            prefix: String::new(),
            tls: Some((Arc::new(config), name)),
            who: Who::TokenFile(dir.join("token")),
            namespace: read("namespace").map_or_else(|_| "default".into(), |n| n.trim().to_owned()),
        })
    }

    /// The cluster of a kubeconfig: `KUBECONFIG`, else `~/.kube/config`; `context`: another than its current one.
    pub fn of_kubeconfig(context: Option<&str>) -> Result<Cluster, ConfigError> {
        let named = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty());
        let files: Vec<PathBuf> = match named {
            Some(list) => std::env::split_paths(&list).filter(|p| p.is_file()).collect(),
            None => std::env::var_os("HOME")
                .map(|home| PathBuf::from(home).join(".kube/config"))
                .into_iter()
                .collect(),
        };
        let file = files.first().cloned().unwrap_or_else(|| "~/.kube/config".into());
        Cluster::of_file(&file, context)
    }

    /// The same with that file.
    pub fn of_file(file: &Path, context: Option<&str>) -> Result<Cluster, ConfigError> {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).map_err(|e| ConfigError::File(name.clone(), e.to_string()))?;
        let root = parse(&text).map_err(|p| ConfigError::Config(name.clone(), p.to_string()))?;
        let root = root.ok_or_else(|| ConfigError::Config(name.clone(), "it is empty".into()))?;
        read(&root, context, file.parent().unwrap_or(Path::new("."))).map_err(|e| match e {
            Wrong::Config(why) => ConfigError::Config(name, why),
            Wrong::Program(program, why) => ConfigError::Program(program, why),
        })
    }
}

enum Wrong {
    Config(String),
    Program(String, String),
}

impl From<String> for Wrong {
    fn from(why: String) -> Wrong {
        Wrong::Config(why)
    }
}

fn read(root: &Node, context: Option<&str>, dir: &Path) -> Result<Cluster, Wrong> {
    let named = |list: &str, inner: &str, name: &str| -> Result<Node, String> {
        let items = root.get(list).map(Node::items).unwrap_or_default();
        let found =
            items.iter().find(|item| item.word("name") == Some(name)).and_then(|item| item.get(inner));
        found.cloned().ok_or_else(|| format!("there is no {inner} named {name:?}"))
    };
    let context =
        context.or(root.word("current-context")).ok_or_else(|| "it has no current context".to_owned())?;
    let context = named("contexts", "context", context)?;
    let word =
        |node: &Node, key: &str| node.word(key).map(str::to_owned).ok_or_else(|| format!("{key} is missing"));
    let cluster = named("clusters", "cluster", &word(&context, "cluster")?)?;
    let user = match context.word("user") {
        Some(user) => named("users", "user", user)?,
        None => Node::map([]),
    };
    let server = word(&cluster, "server")?;
    let url = Url::read(&server)?;
    // Beside the file, or in it.
    let bytes = |node: &Node, key: &str| -> Result<Option<Vec<u8>>, String> {
        if let Some(data) = node.word(&format!("{key}-data")) {
            // Long ones may be folded over several lines.
            let data: String = data.split_ascii_whitespace().collect();
            return BASE64_STANDARD
                .decode(data)
                .map(Some)
                .map_err(|e| format!("{key}-data is not base64: {e}"));
        }
        let Some(file) = node.word(key) else { return Ok(None) };
        std::fs::read(dir.join(file)).map(Some).map_err(|e| format!("{key} {file}: {e}"))
    };
    let tls = match url.secure {
        false => None,
        true => {
            let builder = match bytes(&cluster, "certificate-authority")? {
                _ if cluster.is_true("insecure-skip-tls-verify") => unchecked()?,
                Some(pem) => builder(roots(&pem)?)?,
                None => builder(system_roots())?,
            };
            let config = match (bytes(&user, "client-certificate")?, bytes(&user, "client-key")?) {
                (Some(chain), Some(key)) => {
                    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
                    let chain = chain.map_err(|e| format!("client-certificate: {e}"))?;
                    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| format!("client-key: {e}"))?;
                    builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?
                }
                _ => builder.with_no_client_auth(),
            };
            let name = cluster.word("tls-server-name").unwrap_or(&url.host).to_owned();
            let name = ServerName::try_from(name).map_err(|_| format!("server {server} has no host"))?;
            Some((Arc::new(config), name))
        }
    };
    let who = match (user.word("token"), user.word("tokenFile"), user.get("exec")) {
        (Some(token), ..) => Who::Token(token.to_owned()),
        (_, Some(file), _) => Who::TokenFile(dir.join(file)),
        (.., Some(exec)) if !exec.is_null() => Who::Token(ask_program(exec)?),
        _ => match (user.word("username"), user.word("password")) {
            (Some(name), Some(password)) => Who::Basic(format!("{name}:{password}")),
            _ => Who::Nobody,
        },
    };
    let namespace = context.word("namespace").unwrap_or("default").to_owned();
    Ok(Cluster { host: url.host, port: url.port, prefix: url.path, tls, who, namespace })
}

struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn read(text: &str) -> Result<Url, String> {
        let wrong = || format!("server {text:?} is no address such as https://10.0.0.1:6443");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let end = place.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match place[end..].rfind(':') {
            Some(at) => (&place[..end + at], place[end + at + 1..].parse().map_err(|_| wrong())?),
            None => (place, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Url { secure, host, port, path: path.trim_end_matches('/').to_owned() })
    }
}

/// Has a program say who we are (client.authentication.k8s.io): clouds have such programs.
fn ask_program(exec: &Node) -> Result<String, Wrong> {
    let program = exec.word("command").ok_or_else(|| "exec has no command".to_owned())?;
    let failed = |why: String| Wrong::Program(program.to_owned(), why);
    let version = exec.word("apiVersion").unwrap_or("client.authentication.k8s.io/v1");
    let asked =
        serde_json::json!({"kind": "ExecCredential", "apiVersion": version, "spec": {"interactive": false}});
    let mut command = Command::new(program);
    command.args(exec.get("args").map(Node::items).unwrap_or_default().iter().filter_map(Node::as_text));
    for pair in exec.get("env").map(Node::items).unwrap_or_default() {
        if let (Some(name), Some(value)) = (pair.word("name"), pair.word("value")) {
            command.env(name, value);
        }
    }
    let done = command.env("KUBERNETES_EXEC_INFO", asked.to_string()).stdin(Stdio::null()).output();
    let done = done.map_err(|e| failed(e.to_string()))?;
    if !done.status.success() {
        return Err(failed(String::from_utf8_lossy(&done.stderr).trim().chars().take(300).collect()));
    }
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).map_err(|e| failed(e.to_string()))?;
    let token = said["status"]["token"].as_str();
    token.map(str::to_owned).ok_or_else(|| failed("it gave no token".into()))
}

type Building = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn start() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())
}

fn builder(roots: RootCertStore) -> Result<Building, String> {
    Ok(start()?.with_root_certificates(roots))
}

fn unchecked() -> Result<Building, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = host::trust::Unchecked::new(provider);
    Ok(start()?.dangerous().with_custom_certificate_verifier(verifier))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|e| format!("the authority's certificate: {e}"))?;
        store.add(der).map_err(|e| format!("the authority's certificate: {e}"))?;
    }
    if store.is_empty() { Err("the authority's certificate is empty".into()) } else { Ok(store) }
}

fn system_roots() -> RootCertStore {
    host::trust::system_roots().ok().flatten().unwrap_or_else(RootCertStore::empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        let of = |text: &str| Url::read(text).map(|u| (u.secure, u.host, u.port, u.path));
        assert_eq!(of("https://10.0.0.1:6443").unwrap(), (true, "10.0.0.1".into(), 6443, String::new()));
        assert_eq!(of("https://[fd00::1]:6443/k8s/").unwrap(), (true, "fd00::1".into(), 6443, "/k8s".into()));
        assert_eq!(of("http://[fd00::1]").unwrap(), (false, "fd00::1".into(), 80, String::new()));
        assert_eq!(of("https://api.example").unwrap().2, 443);
        assert!(of("api:1").is_err() && of("https://:1").is_err() && of("https://a:x").is_err());
    }

    #[test]
    fn contexts_and_who_we_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let text = "current-context: a\ncontexts:\n- {name: a, context: {cluster: c, user: u, namespace: shop}}\n- {name: b, context: {cluster: c, user: v}}\n- {name: d, context: {cluster: none, user: v}}\nclusters:\n- {name: c, cluster: {server: 'http://127.0.0.1:8001'}}\nusers:\n- {name: u, user: {token: secret}}\n- name: v\n  user:\n    exec: {apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{\"status\": {\"token\": \"made\"}}'], env: null}\n";
        std::fs::write(&file, text).unwrap();
        let a = Cluster::of_file(&file, None).unwrap();
        assert_eq!((a.namespace(), a.address().as_str()), ("shop", "127.0.0.1:8001"));
        assert!(matches!(&a.who, Who::Token(t) if t == "secret") && !format!("{a:?}").contains("secret"));
        let b = Cluster::of_file(&file, Some("b")).unwrap();
        assert!(matches!(&b.who, Who::Token(t) if t == "made"));
        assert!(
            Cluster::of_file(&file, Some("d")).unwrap_err().to_string().contains("no cluster named \"none\"")
        );
        assert!(
            Cluster::of_file(&file, Some("x")).unwrap_err().to_string().contains("no context named \"x\"")
        );
        std::fs::write(&file, text.replace("command: echo", "command: 'false'")).unwrap();
        assert!(Cluster::of_file(&file, Some("b")).unwrap_err().to_string().contains("log in again"));
        assert!(
            Cluster::of_account(dir.path(), "10.0.0.1", "443")
                .unwrap_err()
                .to_string()
                .contains("no service account")
        );
    }
}
