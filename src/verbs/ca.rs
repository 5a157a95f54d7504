use super::{pretty, print};
use crate::cli::{Ca, CaAct};
use crate::failure::{Failure, Outcome};
use proxy::tls::{Authority, CaError};
use std::path::Path;

/// `murphy ca`: makes the root when there is none, and shows what is asked for.
pub fn ca(args: Ca) -> Outcome {
    let (authority, made) = Authority::open(&Authority::default_dir()).map_err(|e| failure(&e))?;
    if made {
        tell!("made a new CA: {}", authority.path().display());
    }
    match args.act.unwrap_or(CaAct::Show { output: args.output }) {
        CaAct::Show { output } if output.json => {
            let [from, to] = authority.validity();
            let json = serde_json::json!({
                "subject": authority.subject(),
                "sha256": authority.fingerprint(),
                "valid_from": from,
                "valid_to": to,
                "path": authority.path(),
            });
            print(&(pretty(&json) + "\n"))
        }
        CaAct::Show { .. } => {
            let [from, to] = authority.validity();
            print(&format!(
                "subject      {}\nsha256       {}\nvalid        {from} to {to}\nroot         {}\n\n\
                 How clients are told to trust it: murphy ca --help\n",
                authority.subject(),
                authority.fingerprint(),
                authority.path().display(),
            ))
        }
        CaAct::Path => print(&format!("{}\n", authority.path().display())),
        CaAct::Export { out } => give(&authority.pem(), out.as_deref()),
        CaAct::Crl { out } => give(&authority.crl().map_err(|e| failure(&e))?, out.as_deref()),
    }
}

fn give(pem: &str, out: Option<&Path>) -> Outcome {
    let Some(file) = out else { return print(pem) };
    std::fs::write(file, pem).map_err(|e| {
        Failure::cannot(format!("cannot write {}: {e}", file.display()), "choose a file that can be written")
    })?;
    Ok(0)
}

fn failure(e: &CaError) -> Failure {
    let text = e.to_string();
    let (what, hint) = text.split_once("; ").unwrap_or((&text, "look at its directory"));
    Failure::cannot(what, hint)
}
