use super::ways;
use crate::cli::SidecarInit;
use crate::failure::{Failure, Outcome};
use crate::verbs::print;
use pods::redirect::{self, Redirect, RedirectError};
use std::fmt::Write;

/// `murphy sidecar init`: installs the redirect in the network it is in, and ends.
pub fn init(args: SidecarInit) -> Outcome {
    if args.remove {
        let said = match redirect::remove().map_err(|e| failure(&e))? {
            true => "the redirect is gone: traffic goes direct\n",
            false => "there was no redirect\n",
        };
        return print(said);
    }
    let ways = ways(&args.ports)?;
    if ways.is_empty() {
        return Err(Failure::usage(
            "no port is named, so nothing would be redirected",
            "name some: murphy sidecar init --inbound web=8080/http --outbound db=5432",
        ));
    }
    let redirect = Redirect { ways, user: args.uid, probes: args.probe };
    redirect.install().map_err(|e| failure(&e))?;
    let mut said = String::new();
    let both = [
        ("in", redirect.ways.proxied_in().collect::<Vec<_>>()),
        ("out", redirect.ways.proxied_out().collect()),
    ];
    for (word, list) in both {
        for proxied in list {
            let _ = writeln!(
                said,
                "{word:<3} port {} → proxy:{} on {}",
                proxied.way.port, proxied.name, proxied.listen
            );
        }
    }
    let _ = writeln!(said, "while a proxy of user {} lives; without one traffic goes direct", redirect.user);
    print(&said)
}

pub fn failure(e: &RedirectError) -> Failure {
    let text = e.to_string();
    let (what, hint) = text.split_once("; ").unwrap_or((&text, "look at the kernel's log"));
    Failure::cannot(what, hint)
}
