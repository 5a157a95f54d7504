//! `murphy sidecar`: murphy beside an application in its pod.

mod init;
mod manifests;
mod owned;
mod run;
mod webhook;

use crate::cli::{Sidecar, SidecarAct};
use crate::failure::{Failure, Outcome};
use crate::house::{self, client};
use pods::ways::Ways;

/// Does what is asked for.
pub fn sidecar(args: Sidecar) -> Outcome {
    match args.act {
        SidecarAct::Init(args) => init::init(args),
        SidecarAct::Run(args) => {
            // Before there are other threads: all of them become the other user, or none.
            let _rules = if args.owned { Some(owned::take_over(&args)?) } else { None };
            house::block_on_threads(Some(args.threads), run::run(args))
        }
        SidecarAct::Inject(args) => manifests::inject(args),
        SidecarAct::Uninject(args) => manifests::uninject(&args),
        SidecarAct::Webhook(args) => house::block_on(webhook::webhook(args)),
        SidecarAct::Ready(args) => house::block_on(async move {
            client(&args.which)?.status().await?;
            Ok(0)
        }),
    }
}

fn ways(ports: &crate::cli::Ports) -> Result<Ways, Failure> {
    Ways::new(ports.inbound.clone(), ports.outbound.clone()).map_err(Failure::Usage)
}
