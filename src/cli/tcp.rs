//! What is typed about agents on TCP: whom an agent lets in, and what a client shows it.

use clap::{Args, ValueHint};
use control::tls::RoleRule;
use std::path::PathBuf;

/// Whom an agent lets in over TCP.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Callers {
    /// A file with the token that callers must show (256 bits or more: openssl rand -hex 32)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "token_env")]
    pub token_file: Option<PathBuf>,
    /// The name of a variable that holds the token
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
    /// Speak TLS there, with this certificate and its chain (PEM). Files of TLS are read again when they change
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Let in only those who show a certificate of this authority (PEM); with a token too, both are asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// What the bearer of a certificate may do, by its common name or a DNS, URI or mail name in it: ada=admin,ci=viewer;
    /// roles are viewer, operator, admin [default: *=operator, and *=viewer once someone is named]
    #[arg(long, value_name = "NAME=ROLE", value_delimiter = ',', requires = "tls_client_ca", value_parser = role)]
    pub role: Vec<RoleRule>,
}

/// What is shown to an agent that is reached over TCP, and whom of them is believed.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct Shown {
    /// A file with the token for an agent reached over TCP
    #[arg(long, env = "MURPHY_TOKEN_FILE", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// The authority of an https:// agent's certificate (PEM) [default: those that this system trusts]
    #[arg(long, env = "MURPHY_CA", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// Your certificate for an https:// agent (PEM)
    #[arg(long, env = "MURPHY_CERT", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,
    /// Its key (PEM) [default: it is in the same file]
    #[arg(long, env = "MURPHY_KEY", value_name = "FILE", hide_env_values = true, value_hint = ValueHint::FilePath, requires = "cert")]
    pub key: Option<PathBuf>,
    /// The name that an https:// agent's certificate must have [default: the one it is reached by]
    #[arg(long, env = "MURPHY_SERVER_NAME", value_name = "NAME", hide_env_values = true)]
    pub server_name: Option<String>,
}

impl Shown {
    /// What TLS is made of.
    pub fn tls(&self) -> control::tls::Shown {
        control::tls::Shown {
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            name: self.server_name.clone(),
        }
    }
}

fn role(text: &str) -> Result<RoleRule, String> {
    text.parse().map_err(|e: control::tls::RoleError| e.to_string())
}
