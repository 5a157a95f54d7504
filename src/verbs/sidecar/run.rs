use super::ways;
use crate::cli::SidecarRun;
use crate::failure::{Failure, Outcome};
use crate::house::{House, Opening, interrupt, socket_path};
use crate::tcp;
use crate::verbs::print;
use model::units::Span;
use model::{Target, TargetSpec};
use pods::beat::{self, Heart};
use pods::redirect::LASTS_MS;
use std::time::{Duration, Instant};

/// How often it is looked whether the last connections have ended.
const LOOK: Duration = Duration::from_millis(100);

/// `murphy sidecar run`: the proxy beside an application, until it is told to end.
pub async fn run(args: SidecarRun) -> Outcome {
    let mut stop = interrupt()?;
    let ways = ways(&args.ports)?;
    if ways.is_empty() && args.proxy.is_empty() {
        return Err(Failure::usage(
            "no port is named, so there is nothing to be in front of",
            "name some as the redirect has them: --inbound web=8080/http; without one: --proxy db=127.0.0.1:15432,db:5432",
        ));
    }
    let any = beat::any_address();
    let redirected = ways.proxied().map(|p| (p.name.clone(), p.spec(any)));
    let targets =
        redirected.chain(args.proxy).map(|(name, spec)| Target { name, spec: TargetSpec::Proxy(spec) });
    // Both are addresses.
    let control = args.control.and_then(|port| format!("{any}:{port}").parse().ok());
    let tcp = tcp::listener(args.listen.or(control), args.callers)?;
    let scheme = tcp::scheme(tcp.as_ref());
    let socket = socket_path(args.socket.as_deref())?;
    let opening = Opening {
        socket: Some(socket),
        tcp,
        targets: targets.collect(),
        proxies_only: true,
        ..Opening::default()
    };
    let heart = (!ways.is_empty()).then(Heart::new).transpose().map_err(|e| {
        Failure::cannot(
            format!("there is no loopback to say on that the proxy lives: {e}"),
            "is the pod's network up?",
        )
    })?;
    let house = House::daemon(opening).await?;
    print(&format!("murphy sidecar on unix:{}\n", house.socket.display()))?;
    if let Some(address) = house.address() {
        print(&format!("murphy sidecar on {scheme}://{address}\n"))?;
    }
    for target in house.agent.targets().iter().filter(|t| t.target.kind == model::TargetKind::Proxy) {
        print(&format!("{} {}\n", target.target, target.about))?;
    }
    let beating = heart.map(|heart| tokio::spawn(keep_beating(heart)));
    // It waits from now on, beside an application whose memory it shares.
    host::memory::forget_start();
    let who = tokio::select! {
        who = stop.recv() => who.unwrap_or("the end of its signals"),
        () = over(args.lasts) => "the end of its time",
    };
    tell!("{who}: taking everything back");
    // What is armed must not act on the last connections, and what is new goes direct from now on.
    house.service.end_run_if_any("the end of murphy").await;
    for fault in house.agent.faults() {
        // What cannot be taken back now is told by the end of the agent.
        let _ = house.agent.disarm(&fault.id, &fault.by).await;
    }
    if let Some(beating) = beating {
        beating.abort();
        tokio::time::sleep(Duration::from_millis(LASTS_MS) + LOOK * 3).await;
    }
    let begun = Instant::now();
    while begun.elapsed() < args.drain.0 && !house.proxies.connections().is_empty() {
        tokio::select! {
            _ = stop.recv() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    house.close().await
}

/// When its time is over; never when it has none.
async fn over(lasts: Option<Span>) {
    match lasts {
        Some(lasts) => tokio::time::sleep(lasts.0).await,
        None => std::future::pending().await,
    }
}

/// Says that we live, as long as we do.
async fn keep_beating(heart: Heart) {
    let beating = beat::keep_beating(&heart, |heard| match heard {
        true => tell!("the redirect is there: named ports lead here"),
        false => tell!("no redirect is here: traffic goes direct until `murphy sidecar init` has run"),
    });
    if let Err(e) = beating.await {
        tell!("warning: the heartbeat stopped: {e}; traffic goes direct");
    }
}
