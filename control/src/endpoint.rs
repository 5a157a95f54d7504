//! Where an agent is: `unix:/run/murphy/murphy.sock`, `http://127.0.0.1:7443`, `https://edge-1:7443`.

use crate::tls::ClientTls;
use crate::token::Token;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The address of an agent, with what to show there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub place: Place,
    /// What to show, on TCP.
    pub token: Option<Token>,
    /// Whom to believe over TLS, and which certificate to show. At `https://` without it, the system's roots and none.
    pub tls: Option<Arc<ClientTls>>,
}

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
    /// Host and port, over TLS.
    Tls(String, u16),
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an agent's address: {why}; write unix:/path/to/murphy.sock, http://host:port or https://host:port"
)]
pub struct EndpointError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Endpoint {
    /// A unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Endpoint {
        Endpoint { place: Place::Unix(path.into()), token: None, tls: None }
    }

    /// The endpoint with a token.
    pub fn with_token(mut self, token: Option<Token>) -> Endpoint {
        self.token = token;
        self
    }

    /// The endpoint with TLS, whatever it is reached by: a socket, too, may lead to an agent elsewhere.
    pub fn with_tls(mut self, tls: Arc<ClientTls>) -> Endpoint {
        self.tls = Some(tls);
        self
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let error = |why| EndpointError { text: text.to_owned(), why };
        let place = if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(error("the path is missing"));
            }
            Place::Unix(path.into())
        } else if text.starts_with(['/', '.']) {
            Place::Unix(text.into())
        } else if let Some((rest, secure)) = (text.strip_prefix("http://").map(|rest| (rest, false)))
            .or_else(|| text.strip_prefix("https://").map(|rest| (rest, true)))
        {
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            let (host, port) = rest.rsplit_once(':').ok_or_else(|| error("the port is missing"))?;
            let port = port.parse().ok().filter(|p| *p > 0);
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            if host.is_empty() || host.contains(['/', '@', '?']) {
                return Err(error("that is not a host"));
            }
            let port = port.ok_or_else(|| error("that is not a port"))?;
            if secure { Place::Tls(host.to_owned(), port) } else { Place::Tcp(host.to_owned(), port) }
        } else {
            return Err(error("it begins with none of unix:, http:// and https://"));
        };
        Ok(Endpoint { place, token: None, tls: None })
    }
}

/// Host and port as a URL has them.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => f.pad(&format!("unix:{}", path.display())),
            Place::Tcp(host, port) => f.pad(&format!("http://{}", authority(host, *port))),
            Place::Tls(host, port) => f.pad(&format!("https://{}", authority(host, *port))),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// The socket of an agent that nobody gave a path: root has `/run/murphy/murphy.sock`, others have one in their runtime
/// directory (`runtime` is `XDG_RUNTIME_DIR`), or else in a directory of their own under `/tmp`.
pub fn default_socket(uid: u32, runtime: Option<PathBuf>) -> PathBuf {
    let dir = match (uid, runtime.filter(|p| p.is_absolute())) {
        (0, _) => PathBuf::from("/run/murphy"),
        (_, Some(dir)) => dir.join("murphy"),
        (uid, None) => PathBuf::from(format!("/tmp/murphy-{uid}")),
    };
    dir.join("murphy.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_prints_and_teaches() {
        for (text, want) in [
            ("unix:/run/m.sock", "unix:/run/m.sock"),
            ("unix:///run/m.sock", "unix:/run/m.sock"),
            ("./m.sock", "unix:./m.sock"),
            ("http://127.0.0.1:7443/", "http://127.0.0.1:7443"),
            ("http://[::1]:7443", "http://[::1]:7443"),
            ("https://edge-1:7443/", "https://edge-1:7443"),
            ("https://[::1]:7443", "https://[::1]:7443"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), want);
        }
        let why = |text: &str| text.parse::<Endpoint>().unwrap_err().why;
        assert_eq!(why("http://edge-1"), "the port is missing");
        assert_eq!(why("https://edge-1"), "the port is missing");
        assert_eq!(why("http://edge-1:0"), "that is not a port");
        assert_eq!(why("edge-1:7443"), "it begins with none of unix:, http:// and https://");
        assert_eq!(why("unix:"), "the path is missing");
    }

    #[test]
    fn sockets_by_default() {
        assert_eq!(default_socket(0, Some("/run/user/0".into())), PathBuf::from("/run/murphy/murphy.sock"));
        assert_eq!(
            default_socket(1000, Some("/run/user/1000".into())),
            PathBuf::from("/run/user/1000/murphy/murphy.sock")
        );
        assert_eq!(default_socket(7, None), PathBuf::from("/tmp/murphy-7/murphy.sock"));
    }
}
