//! Agents on TCP: whom one of ours lets in, and what is shown to others.

use crate::cli::{Callers, Shown};
use crate::failure::Failure;
use control::tls::{ClientTls, TlsOptions, TrustError};
use control::token::{Secret, TokenFile};
use control::{Endpoint, Role, StartError, TcpOptions, Token};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A listener as it is asked for: who shows the token is an operator, who shows a certificate what its names say. None:
/// there shall be none.
pub fn listener(listen: Option<SocketAddr>, callers: Callers) -> Result<Option<TcpOptions>, Failure> {
    let token = match (&callers.token_file, &callers.token_env) {
        (Some(file), _) => Some(Secret::File(Arc::new(TokenFile::open(file, tell).map_err(wrong)?))),
        (None, Some(name)) => Some(Secret::Token(token_of(name)?)),
        (None, None) => None,
    };
    let Some(listen) = listen else {
        if token.is_some() || callers.tls_cert.is_some() {
            return Err(Failure::usage(
                "tokens and certificates are for TCP, and nothing listens there",
                "say where: --listen 127.0.0.1:7443; on the unix socket the kernel says who calls",
            ));
        }
        return Ok(None);
    };
    let mut tcp = TcpOptions::new(listen);
    tcp.grants.extend(token.map(|token| control::server::Grant {
        name: "token".into(),
        token,
        role: Role::Operator,
    }));
    if let (Some(cert), Some(key)) = (callers.tls_cert, callers.tls_key) {
        let roles = callers.role.into_iter().collect();
        tcp.tls = Some(TlsOptions { cert, key, client_ca: callers.tls_client_ca, roles, tell });
    } else if tcp.beyond_loopback() && !tcp.grants.is_empty() {
        tell(
            "warning: the token travels in clear, and so does what is answered; speak TLS with --tls-cert and --tls-key",
        );
    }
    if tcp.is_open_to_others() {
        let text = StartError::Unguarded { listen }.to_string();
        let (what, hint) = text.split_once("; ").unwrap_or((&text, "ask for a token"));
        return Err(Failure::usage(what, hint));
    }
    Ok(Some(tcp))
}

/// What stands before the address of a listener.
pub fn scheme(tcp: Option<&TcpOptions>) -> &'static str {
    if tcp.is_some_and(|tcp| tcp.tls.is_some()) { "https" } else { "http" }
}

fn tell(text: &str) {
    tell!("{text}");
}

/// The endpoint with what is to be shown there.
pub fn with(endpoint: Endpoint, shown: &Shown) -> Result<Endpoint, Failure> {
    let endpoint = endpoint.with_token(shown.token_file.as_deref().map(token).transpose()?);
    match endpoint.place {
        control::endpoint::Place::Tls(..) => Ok(endpoint.with_tls(tls(shown)?)),
        _ => Ok(endpoint),
    }
}

/// TLS with agents.
pub fn tls(shown: &Shown) -> Result<Arc<ClientTls>, Failure> {
    ClientTls::open(shown.tls()).map(Arc::new).map_err(wrong)
}

/// Reads a token.
pub fn token(file: &Path) -> Result<Token, Failure> {
    Token::read(file).map_err(wrong)
}

fn wrong(e: TrustError) -> Failure {
    Failure::usage(e.what, e.hint)
}

/// The token in a variable.
fn token_of(name: &str) -> Result<Token, Failure> {
    let text =
        std::env::var(name).map_err(|_| Failure::usage(format!("the variable {name} is not set"), MAKE))?;
    parse(&text, name)
}

fn parse(text: &str, place: &str) -> Result<Token, Failure> {
    Token::parse(text).map_err(|e| {
        // What to do about it is said once.
        let text = e.to_string();
        let (why, hint) = text.split_once("; ").unwrap_or((&text, MAKE));
        Failure::usage(format!("the token in {place} cannot be used: {why}"), hint)
    })
}

const MAKE: &str = "make one with: openssl rand -hex 32";
