use super::{pretty, print};
use crate::cli::{Arm, target_proxy};
use crate::failure::{Failure, Outcome};
use crate::house::{House, Opening, client, default_socket, holder_of, interrupt};
use control::wire::PlanView;
use control::{Client, Code};
use model::matcher::Matcher;
use model::{Fault, Injection, Problem, Share, Target, TargetKind, TargetRef, TargetSpec};
use std::path::Path;

/// `murphy arm`: on the agent that is named or found; without one, in the foreground until the fault ends.
pub async fn arm(args: Arm) -> Outcome {
    let mut stop = interrupt()?;
    let mut fault = fault(&args).map_err(Failure::Usage)?;
    // A line that is wrong is wrong whoever is there.
    target(&args, &fault.target).map_err(Failure::Usage)?;
    let client = agent(&args, &mut fault.target).await?;
    let target = target(&args, &fault.target).map_err(Failure::Usage)?;
    let Some(client) = client else { return foreground(&args, fault, target, &mut stop).await };
    let opened = ready(&client, target).await?;
    if args.dry_run {
        let plan = client.plan(&fault).await;
        // What had to be open to be asked is not left open: a dry run changes nothing.
        if let Some(target) = opened {
            client.close_target(&target).await?;
        }
        return show_plan(&args, &plan?);
    }
    let armed = client.arm(&fault, args.lease).await?;
    if args.output.json {
        return print(&(pretty(&armed) + "\n"));
    }
    let ends = armed.left.map_or(String::new(), |l| {
        format!("; it ends by itself in {}", model::units::Span::secs(l.0.as_secs_f64().round() as u64))
    });
    print(&format!("{} is on: {} on {}{ends}\n", armed.id, armed.fault.describe(), armed.fault.target))?;
    armed.warnings.iter().for_each(|w| tell!("mind: {w}"));
    print(&format!("take it back with: murphy disarm {}\n", armed.id))
}

/// The agent that shall have the fault: the one that is named, or the user's own; for a directory that a command in the
/// foreground serves (`murphy mount`), that one. None: nobody is there. A directory is meant as it is seen from here.
async fn agent(args: &Arm, target: &mut TargetRef) -> Result<Option<Client>, Failure> {
    let named = args.which.socket.is_some();
    let mut own = None;
    if named || default_socket().exists() {
        let client = client(&args.which)?;
        match client.targets().await {
            // It may have been given this very name.
            Ok(open) if open.iter().any(|t| t.target == *target) => return Ok(Some(client)),
            Ok(_) => own = Some(client),
            Err(e) if named || !e.unreachable() => return Err(e.into()),
            Err(_) => {}
        }
    }
    if target.kind != TargetKind::Fs {
        return Ok(own);
    }
    let holder = async |target: &TargetRef| if named { None } else { holder_of(target).await };
    if let Some(holder) = holder(target).await {
        return Ok(Some(holder));
    }
    // Looked at only now: a directory whose operations hang would keep us, too.
    let dir = std::fs::canonicalize(&target.name).ok().filter(|dir| dir.is_dir());
    if let Some(dir) = dir.as_deref().and_then(Path::to_str) {
        dir.clone_into(&mut target.name);
    }
    Ok(holder(target).await.or(own))
}

/// Its own agent, until the fault ends or someone ends it.
async fn foreground(
    args: &Arm,
    fault: Fault,
    target: Option<Target>,
    stop: &mut tokio::sync::mpsc::Receiver<&'static str>,
) -> Outcome {
    if target.is_none() && fault.target.kind == TargetKind::Proxy {
        return Err(Failure::usage(
            format!("there is no agent, and {} is not known", fault.target),
            "add --listen and --upstream to open the proxy here, name a container's port (proxy:shop/db:5432), or start an agent that has it (murphy agent --proxy …)",
        ));
    }
    let house = House::foreground_with("arm", Opening { dry: args.dry_run, ..Opening::default() }).await?;
    let client = house.client();
    let outcome = hold(args, &client, fault, target, stop).await;
    let closed = house.close().await;
    let code = outcome?;
    closed.map(|_| code)
}

async fn hold(
    args: &Arm,
    client: &Client,
    fault: Fault,
    target: Option<Target>,
    stop: &mut tokio::sync::mpsc::Receiver<&'static str>,
) -> Outcome {
    use control::Signal;
    use futures::StreamExt;
    use model::EventKind;
    ready(client, target).await?;
    if args.dry_run {
        return show_plan(args, &client.plan(&fault).await?);
    }
    // From before it is armed: what happens once is over when the call answers.
    let mut events = client.events(Some(client.status().await?.agent.seq + 1));
    let armed = client.arm(&fault, args.lease).await?;
    if args.output.json {
        print(&(pretty(&armed) + "\n"))?;
    } else if !fault.inject.def().one_shot {
        print(&format!(
            "{} is on: {} on {}; ctrl-c takes it back\n",
            armed.id,
            armed.fault.describe(),
            armed.fault.target
        ))?;
        armed.warnings.iter().for_each(|w| tell!("mind: {w}"));
    }
    loop {
        let event = tokio::select! {
            who = stop.recv() => {
                tell!("{}: taking it back", who.unwrap_or("the end"));
                // It may have ended in this very moment.
                match client.disarm(&armed.id).await {
                    Err(e) if e.code() != Some(Code::NotFound) => return Err(e.into()),
                    _ => continue,
                }
            }
            event = events.next() => event,
        };
        match event {
            Some(Signal::Event(event)) => match &event.kind {
                EventKind::Recovered { id, evidence, .. } if *id == armed.id => {
                    if !args.output.json {
                        print(&format!(
                            "{id} is over; it applied {} of {} times\n",
                            evidence.applied, evidence.considered
                        ))?;
                    }
                    return Ok(0);
                }
                EventKind::RecoverFailed { id, why } if *id == armed.id => {
                    return Err(Failure::cannot(
                        format!("{id} could not be taken back: {why}"),
                        "`murphy recover` tries again",
                    ));
                }
                _ => {}
            },
            Some(Signal::Connected { .. }) => {}
            Some(Signal::Lost(e)) => return Err(e.into()),
            None => return Ok(0),
        }
    }
}

/// Opens a proxy or a directory, unless it is open; gives what was not. All others the agent opens when a fault needs them.
async fn ready(client: &Client, target: Option<Target>) -> Result<Option<TargetRef>, Failure> {
    let in_passing = |spec: &TargetSpec| !matches!(spec, TargetSpec::Proxy(_) | TargetSpec::Fs(_));
    let Some(target) = target.filter(|t| !in_passing(&t.spec)) else { return Ok(None) };
    let open = client.targets().await?.iter().any(|t| t.target == target.reference());
    if !open || matches!(target.spec, TargetSpec::Proxy(_)) {
        client.open_target(&target).await?;
    }
    Ok((!open).then(|| target.reference()))
}

fn fault(args: &Arm) -> Result<Fault, Problem> {
    let target: TargetRef = args.target.parse()?;
    let engine = args.engine.as_deref().map(|engine| ("engine", engine));
    let params = args.params.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let inject = Injection::from_pairs(&args.fault, params.chain(engine))?;
    let share = match (args.percent, args.nth, args.first) {
        (Some(p), _, _) => Share::Percent(p),
        (_, Some(n), _) => Share::Nth(n),
        (_, _, Some(n)) => Share::First(n),
        _ => Share::All,
    };
    let fault = Fault {
        id: args.id.clone(),
        target,
        inject,
        lasts: args.lasts,
        share,
        per: args.per.clone(),
        when: matcher(&args.when)?,
        ramp: None,
        seed: args.seed,
    };
    match fault.problems().into_iter().next() {
        Some(mut problem) => {
            problem.hint = problem.hint.map(|h| h.replace("add for, such as 60s", "add --for 60s"));
            Err(problem)
        }
        None => Ok(fault),
    }
}

/// `method=POST`, `header.x-user=beta-*`: several must all hold.
pub(super) fn matcher(pairs: &[(String, String)]) -> Result<Option<Matcher>, Problem> {
    let mut list = Vec::new();
    for (key, value) in pairs {
        if key.is_empty() {
            list.push(value.parse()?);
            continue;
        }
        list.push(Matcher::from_pair(key, value)?);
    }
    Ok(match list.len() {
        0 => None,
        1 => list.pop(),
        _ => Some(Matcher::All(list)),
    })
}

/// The target that the command line itself describes; a proxy only with where it listens.
fn target(args: &Arm, reference: &TargetRef) -> Result<Option<Target>, Problem> {
    if let (Some(listen), Some(upstream)) = (&args.listen, &args.upstream) {
        if reference.kind != TargetKind::Proxy {
            return Err(Problem::new("--listen and --upstream are for proxies").hint("leave them out"));
        }
        let spec = target_proxy(&reference.name, listen, upstream, args.protocol, args.tls.as_ref())?;
        return Ok(Some(Target { name: reference.name.clone(), spec: TargetSpec::Proxy(spec) }));
    }
    let mut implied = crate::service::implied(reference);
    if let Some(TargetSpec::Proxy(spec)) = implied.as_mut().map(|t| &mut t.spec) {
        spec.protocol = args.protocol;
        if let Some(problem) = spec.front_problem() {
            return Err(problem);
        }
    }
    Ok(implied)
}

fn show_plan(args: &Arm, plan: &PlanView) -> Outcome {
    if args.output.json {
        return print(&(pretty(plan) + "\n"));
    }
    let mut out = format!("{} on {}\n", plan.fault.describe(), plan.fault.target);
    for act in &plan.acts {
        out.push_str(&format!("  do:   {}\n  undo: {}\n", act.act, act.undo));
    }
    plan.warnings.iter().for_each(|w| out.push_str(&format!("  mind: {w}\n")));
    if !plan.commands.is_empty() {
        out.push_str("  by hand that would be:\n");
        plan.commands.iter().for_each(|c| out.push_str(&format!("    {c}\n")));
    }
    print(&out)
}
