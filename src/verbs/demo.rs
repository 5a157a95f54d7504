use super::run::{finish, in_lines, written};
use super::{print, tui};
use crate::cli::{Demo, Output};
use crate::failure::{Failure, Outcome};
use crate::house::{House, interrupt};
use crate::shop::{Ports, Shop, experiment, free_port};
use engine::run::{self, Options};
use model::Experiment;
use model::experiment::Format;
use model::units::Span;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Shorter and the windows are too few to say anything.
const SHORTEST: Span = Span::secs(20);

/// `murphy demo`: the shop, the proxies between its parts, load, and an experiment on it all.
pub async fn demo(args: Demo) -> Outcome {
    let mut stop = interrupt()?;
    if args.lasts < SHORTEST || args.lasts > Span::secs(3600) {
        return Err(Failure::usage(
            format!("--for {} is outside {SHORTEST} to 1h", args.lasts),
            "leave it out for a minute",
        ));
    }
    let io = |e: std::io::Error| {
        Failure::cannot(format!("the shop cannot open: {e}"), "it needs free ports on 127.0.0.1")
    };
    let ports = Ports {
        front: free_port().await.map_err(io)?,
        payments: free_port().await.map_err(io)?,
        store: free_port().await.map_err(io)?,
    };
    let shop = Shop::open(ports.payments, ports.store).await.map_err(io)?;
    let text = experiment(&shop, ports, args.lasts, args.seed);
    if args.print {
        return print(&text);
    }
    // Text of our own making; if it does not read, the message says where.
    let experiment = model::experiment::read("demo.yaml", &text, &BTreeMap::new())?;
    let house = House::foreground("demo").await?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !args.headless && !terminal {
        tell!(
            "there is no terminal for the console: going on as with --headless (docker run needs -it for it)"
        );
    }
    let outcome = if args.headless || !terminal {
        let started = start(&house, experiment, args.report.clone(), args.seed).await;
        match started {
            Ok(handle) => {
                let progress = handle.progress.clone();
                let record = in_lines(Output { json: false }, &house, handle, &mut stop).await;
                record
                    .and_then(|record| finish(Output { json: false }, &record, written(&progress).as_deref()))
            }
            Err(e) => Err(e),
        }
    } else {
        interactive(&args, &house, experiment).await
    };
    let closed = house.close().await;
    drop(shop);
    let code = outcome?;
    closed.map(|_| code)
}

async fn start(
    house: &House,
    experiment: Experiment,
    dir: Option<PathBuf>,
    seed: Option<u64>,
) -> Result<run::RunHandle, Failure> {
    let formats = Format::ALL.iter().map(|(_, f)| *f).collect();
    let options =
        Options { seed, dir, formats, base: Path::new(".").to_owned(), by: host::privilege::user() };
    run::start(house.agent.clone(), experiment, options).await.map_err(Failure::Cannot)
}

/// The console on the running experiment; the load goes on after it, so that one can go on breaking things by hand.
async fn interactive(args: &Demo, house: &House, experiment: Experiment) -> Outcome {
    let load = experiment.loads.first().cloned();
    let targets = experiment.targets.clone();
    for target in targets {
        house
            .agent
            .open(target)
            .await
            .map_err(|e| Failure::cannot(e.to_string(), "it needs free ports on 127.0.0.1"))?;
    }
    let mut experiment = experiment;
    let load = match load {
        // The run's own load would end with it; this one is there for as long as the console is.
        Some(load) => Some(
            run::load::Running::start(load, Default::default(), Path::new(""))
                .map_err(|e| Failure::cannot(e.to_string(), "this should not happen"))?,
        ),
        None => None,
    };
    for load in &mut experiment.loads {
        load.stages.iter_mut().for_each(|s| {
            s.from = model::units::EventRate::per_second(s.from.value() / 3.0);
            s.to = s.from;
        });
    }
    let handle = start(house, experiment, args.report.clone(), args.seed).await?;
    house.service.adopt(&handle, &host::privilege::user());
    tui::console(&args.look, vec![house.client().endpoint().clone()], false).await?;
    // Over already, or ended now.
    let _ = handle.end.send("whoever left the console".to_owned()).await;
    let record = handle.record.await.map_err(|e| {
        Failure::cannot(format!("the run broke: {e}"), "`murphy recover` takes back what it left")
    })?;
    drop(load);
    finish(Output { json: false }, &record, written(&handle.progress).as_deref())
}
