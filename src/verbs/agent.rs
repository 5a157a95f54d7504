use super::{print, toxiproxy};
use crate::cli::Agent;
use crate::failure::Outcome;
use crate::house::{House, Opening, interrupt, socket_path};
use crate::service::EngineService;
use crate::tcp;
use control::toxiproxy::Options;
use model::{Target, TargetSpec};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `murphy agent`: serves until it is interrupted, then takes everything back.
pub async fn agent(args: Agent) -> Outcome {
    let mut stop = interrupt()?;
    let tcp = tcp::listener(args.listen, args.callers)?;
    let scheme = tcp::scheme(tcp.as_ref());
    let socket = socket_path(args.socket.as_deref())?;
    let proxies = args.proxy.into_iter().map(|(name, spec)| Target { name, spec: TargetSpec::Proxy(spec) });
    let opening = Opening {
        socket: Some(socket),
        group: args.group,
        tcp,
        lease: Some(args.lease),
        otlp: args.export.collector()?,
        targets: proxies.collect(),
        ..Opening::default()
    };
    let house = House::daemon(opening).await?;
    let door = match args.toxiproxy {
        None => None,
        Some(listen) => {
            let options = Options { seed: toxiproxy::random_seed(), ..Options::default() };
            match toxiproxy::open(&house, listen, options).await {
                Ok(door) => Some(door),
                Err(e) => {
                    house.close().await?;
                    return Err(e);
                }
            }
        }
    };
    print(&format!("murphy agent on unix:{}\n", house.socket.display()))?;
    if let Some(address) = house.address() {
        print(&format!("murphy agent on {scheme}://{address}\n"))?;
    }
    if let Some(door) = &door {
        print(&format!("murphy toxiproxy on http://{}\n", door.address()))?;
    }
    if let Some(halt) = house.agent.halted() {
        print(&format!("halted by {}; lift it with `murphy halt --lift`\n", halt.by))?;
    }
    for target in house.agent.targets() {
        print(&format!("{} {}\n", target.target, target.about))?;
    }
    let lever = watch_file(house.service.clone(), house.agent.clone(), args.halt_file);
    let who = stop.recv().await.unwrap_or("the end of its signals");
    lever.abort();
    tell!("{who}: taking everything back");
    if let Some(door) = door {
        door.close().await;
    }
    house.close().await
}

/// Halts while a file exists: a lever that needs no murphy at hand.
fn watch_file(
    service: Arc<EngineService>,
    agent: engine::Agent,
    file: Option<PathBuf>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let Some(file) = file else { return };
        loop {
            if file.exists() && agent.halted().is_none() {
                service.halt_everything(&format!("file {}", file.display())).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
}
