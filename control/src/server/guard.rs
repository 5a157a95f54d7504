//! Who may come in, and as whom: peer credentials, tokens, `Host` and `Origin`.

use super::SocketOptions;
use crate::caller::{Caller, Role};
use crate::service::Service;
use crate::tls::ServerTls;
use crate::token::Secret;
use crate::wire::{Code, Failure};
use http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::unix::UCred;
use tokio::sync::Semaphore;

/// A token and whom it stands for.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The name that events and audit lines show.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// What they show.
    pub token: Secret,
}

/// One listener's rules, and the service behind it.
pub(super) struct Door {
    pub service: Arc<dyn Service>,
    pub instance: String,
    /// Streams of events last for ever; bounded apart, they cannot keep a halt from being heard.
    pub watchers: Arc<Semaphore>,
    kind: Kind,
}

enum Kind {
    Unix { group: Option<Gid>, others: Role },
    Tcp { grants: Vec<Grant>, open: Role, tls: Option<ServerTls> },
}

impl Door {
    pub fn unix(
        service: Arc<dyn Service>,
        instance: String,
        options: &SocketOptions,
        group: Option<Gid>,
    ) -> Door {
        Door { service, instance, watchers: watchers(), kind: Kind::Unix { group, others: options.others } }
    }

    pub fn tcp(
        service: Arc<dyn Service>,
        instance: String,
        grants: Vec<Grant>,
        open: Role,
        tls: Option<ServerTls>,
    ) -> Door {
        Door { service, instance, watchers: watchers(), kind: Kind::Tcp { grants, open, tls } }
    }

    /// The listener's TLS, where it is spoken.
    pub fn tls(&self) -> Option<&ServerTls> {
        match &self.kind {
            Kind::Tcp { tls, .. } => tls.as_ref(),
            Kind::Unix { .. } => None,
        }
    }

    /// Who is at the other end of the socket, as the kernel says.
    pub async fn unix_caller(&self, cred: UCred) -> Caller {
        let uid = Uid::from_raw(cred.uid());
        let (group, others) = match &self.kind {
            Kind::Unix { group, others } => (*group, *others),
            Kind::Tcp { .. } => (None, Role::Viewer),
        };
        let peer_gid = Gid::from_raw(cred.gid());
        // Reads the user database, which may be a slow one.
        let looked_up = tokio::task::spawn_blocking(move || {
            let user = User::from_uid(uid).ok().flatten();
            let member =
                group.is_some_and(|g| peer_gid == g || user.as_ref().is_some_and(|u| is_member(u, g)));
            (user.map(|u| u.name), member)
        });
        let (name, member) = looked_up.await.unwrap_or((None, false));
        let role = if uid == geteuid() || uid.is_root() {
            Role::Admin
        } else if member {
            Role::Operator.max(others)
        } else {
            others
        };
        let name = name.unwrap_or_else(|| "someone".to_owned());
        Caller { name, uid: Some(cred.uid()), pid: cred.pid(), role }
    }

    /// Who an unknown TCP caller is, when the door is open to them at all.
    pub fn tcp_caller(&self) -> Option<Caller> {
        match &self.kind {
            Kind::Tcp { grants, open, tls }
                if grants.is_empty() && !tls.as_ref().is_some_and(|t| t.asks()) =>
            {
                Some(Caller { name: "someone on tcp".to_owned(), uid: None, pid: None, role: *open })
            }
            _ => None,
        }
    }

    /// Lets a request in, as whom. `caller`: who it is as far as the connection says.
    pub fn admit(
        &self,
        caller: Option<Caller>,
        headers: &HeaderMap,
        authority: Option<&str>,
    ) -> Result<Caller, Failure> {
        let origin = headers.get(ORIGIN).map(|o| o.to_str().unwrap_or("?"));
        match &self.kind {
            Kind::Unix { .. } => {
                if let Some(origin) = origin {
                    return Err(foreign(origin));
                }
                caller.ok_or_else(|| Failure::new(Code::Unauthorized, "the kernel did not say who calls"))
            }
            Kind::Tcp { grants, tls, .. } => {
                let host = match authority {
                    Some(authority) => authority,
                    None => headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or(""),
                };
                // A page in a browser that was sent here by a rebound name has neither a token nor a certificate for it.
                if grants.is_empty() && tls.is_none() && !known_host(host) {
                    return Err(Failure::new(
                        Code::Forbidden,
                        format!("without a token this agent is not called {host:?}"),
                    )
                    .hint("call it by its address or as localhost: a page in a browser may have been sent here by a rebound name"));
                }
                let scheme = if tls.is_some() { "https://" } else { "http://" };
                if let Some(origin) = origin.filter(|o| o.strip_prefix(scheme) != Some(host)) {
                    return Err(foreign(origin));
                }
                if grants.is_empty() {
                    return caller.ok_or_else(|| {
                        Failure::new(Code::Unauthorized, "this agent asks for a certificate")
                            .hint("show one of its authority's; for murphy, --cert and --key")
                    });
                }
                let Some(bearer) = bearer(headers) else {
                    return Err(Failure::new(Code::Unauthorized, "this agent asks for a token").hint(
                        "send it as Authorization: Bearer TOKEN; for murphy, name its file with --token-file or MURPHY_TOKEN_FILE",
                    ));
                };
                // All are compared, so that the time does not tell which came near.
                let found =
                    grants.iter().fold(None, |found, g| if g.token.is(bearer) { Some(g) } else { found });
                let Some(grant) = found else {
                    return Err(Failure::new(Code::Unauthorized, "the token is not known here")
                        .hint("check that it is this agent's, whole, and not out of date"));
                };
                // With a certificate the token is a second lock: who it is stands in the certificate.
                Ok(caller.unwrap_or_else(|| Caller {
                    name: grant.name.clone(),
                    uid: None,
                    pid: None,
                    role: grant.role,
                }))
            }
        }
    }
}

/// Streams of events at a time at one listener: a quarter of its connections.
const WATCHERS: usize = 64;

fn watchers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WATCHERS))
}

fn foreign(origin: &str) -> Failure {
    Failure::new(Code::Forbidden, format!("a page of {origin} may not call this agent"))
        .hint("only pages served from the agent's own address may; use a program, or the console")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Bare addresses and `localhost` cannot be the work of DNS rebinding, which needs a name.
fn known_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

fn is_member(user: &User, group: Gid) -> bool {
    CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok())
        .is_some_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["127.0.0.1:80", "[::1]:80", "[::1]", "localhost:9", "LOCALHOST", "10.0.0.4"] {
            assert!(known_host(host), "{host}");
        }
        for host in ["evil.example:80", "", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!known_host(host), "{host}");
        }
    }
}
