//! `murphy ca` as it is typed.

use super::Output;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// `murphy ca`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The first use makes a root and its key in the state directory (ca/), once; proxies with tls: {downstream:
terminate} sign with it. Clients that shall believe them must trust the root:
  curl --cacert $(murphy ca path) https://…
  Python, Go, Ruby, PHP   SSL_CERT_FILE=$(murphy ca path) (Python requests: REQUESTS_CA_BUNDLE)
  Node.js                 NODE_EXTRA_CA_CERTS=$(murphy ca path)
  Java                    keytool -importcert -noprompt -alias murphy -file $(murphy ca path) -keystore trust.p12 -storepass changeit
                          java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit …
  the whole system        cp $(murphy ca path) /usr/local/share/ca-certificates/murphy.crt && update-ca-certificates
Whoever has the key can pose as any host to those clients: trust the root on test machines only, and never export the key."
)]
pub struct Ca {
    /// What to do; without it the root is shown.
    #[command(subcommand)]
    pub act: Option<CaAct>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What is done with murphy's CA.
#[derive(Debug, Subcommand)]
pub enum CaAct {
    /// Whose name stands in the root, its fingerprint, how long it is valid, where it lies
    Show {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The path of the root's PEM file
    Path,
    /// The root as PEM; the key stays
    Export {
        /// Into this file instead of standard output
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// The list of revoked certificates as PEM, for clients that check one: curl --crlfile, openssl -crl_check
    Crl {
        /// Into this file instead of standard output
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
}
