use super::{kube, print};
use crate::cli::{self, MarkerKind, ThemeKind};
use crate::failure::{Failure, Outcome};
use crate::house::{House, endpoint, own_agent, passing_agents};
use control::endpoint::Place;
use control::{Client, Endpoint};
use model::{Target, TargetSpec};

/// `murphy tui`: the console on the agents that are named, on the user's own, or on one inside.
pub async fn tui(args: cli::Tui) -> Outcome {
    if !args.attach.is_empty() {
        let ends =
            args.attach.iter().map(|a| endpoint(Some(a), &args.shown)).collect::<Result<Vec<_>, _>>()?;
        return console(&args.look, ends, args.read_only).await;
    }
    let own = own_agent(&args.shown)?;
    if let Some(selector) = &args.kube {
        return kube::console_of_pods(&args, selector).await;
    }
    // One elsewhere was named on purpose, and the console says what is wrong with it.
    let elsewhere = !matches!(own.place, Place::Unix(_));
    if args.proxy.is_empty() && (elsewhere || Client::new(own.clone()).status().await.is_ok()) {
        return console(&args.look, vec![own], args.read_only).await;
    }
    // Someone who has a run going in another terminal wants to see that.
    let named = std::env::var_os("MURPHY_SOCKET").is_some_and(|said| !said.is_empty());
    if args.proxy.is_empty()
        && !named
        && let [socket] = passing_agents().as_slice()
    {
        return console(&args.look, vec![Endpoint::unix(socket)], args.read_only).await;
    }
    let house = House::foreground("tui").await?;
    let mut outcome = Ok(0);
    for (name, spec) in args.proxy {
        if let Err(e) = house.agent.open(Target { name, spec: TargetSpec::Proxy(spec) }).await {
            outcome = Err(Failure::cannot(e.to_string(), "choose another port to listen on"));
        }
    }
    if outcome.is_ok() {
        outcome = console(&args.look, vec![house.client().endpoint().clone()], args.read_only).await;
    }
    house.close().await?;
    outcome
}

/// Shows the console until the person leaves it.
pub async fn console(look: &cli::Look, attach: Vec<Endpoint>, read_only: bool) -> Outcome {
    let options = tui::Options {
        attach,
        read_only,
        marker: match look.marker {
            MarkerKind::Braille => tui::Marker::Braille,
            MarkerKind::Dots => tui::Marker::Dots,
            MarkerKind::Blocks => tui::Marker::Blocks,
        },
        theme: match look.theme {
            ThemeKind::Auto => tui::Theme::Auto,
            ThemeKind::Dark => tui::Theme::Dark,
            ThemeKind::Light => tui::Theme::Light,
        },
        no_color: std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()),
    };
    // The console has a thread and a runtime of its own, so that no traffic here holds up a key there.
    let left = tokio::task::spawn_blocking(move || tui::run(options)).await;
    match left.map_err(|e| {
        Failure::cannot(
            format!("the console broke: {e}"),
            "the agents go on, and what is armed ends by itself",
        )
    })? {
        Ok(_) => print(""),
        Err(e) => Err(Failure::cannot(
            e.to_string(),
            "the console needs a terminal; `murphy watch --plain` and `murphy demo --headless` do not",
        )),
    }
}
