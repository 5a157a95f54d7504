use super::print;
use crate::cli::Watch;
use crate::failure::Outcome;
use crate::house::{found, interrupt};
use control::Signal;
use futures::StreamExt;

/// `murphy watch`: one line an event, also across a restart of the agent, until it is interrupted.
pub async fn watch(args: Watch) -> Outcome {
    let mut stop = interrupt()?;
    let client = found(&args.which)?;
    // The first call tells an unreachable agent apart from one that goes away later.
    let status = client.status().await?;
    let mut events = client.events(Some(if args.new { status.agent.seq + 1 } else { 0 }));
    loop {
        let signal = tokio::select! {
            _ = stop.recv() => return Ok(0),
            signal = events.next() => signal,
        };
        let line = match signal {
            None => return Ok(0),
            Some(Signal::Connected { .. }) => continue,
            Some(Signal::Event(event)) if args.output.json => serde_json::to_string(&event).ok(),
            Some(Signal::Event(event)) => tui::plain::line(&event),
            Some(Signal::Lost(e)) => {
                tell!("the agent is lost: {}; waiting for it", e.brief());
                None
            }
        };
        if let Some(line) = line {
            print(&(line + "\n"))?;
        }
    }
}
