use super::{pretty, print};
use crate::cli::Health;
use crate::failure::{Failure, Outcome};
use crate::house::client;
use std::time::Duration;

/// How long an agent that is well may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// `murphy health`: whether an agent answers, as an exit code, for what starts it anew otherwise. A halted one is well.
pub async fn health(args: Health) -> Outcome {
    let client = client(&args.which)?;
    let Ok(answer) = tokio::time::timeout(PATIENCE, client.status()).await else {
        return Err(Failure::cannot(
            format!("the agent at {} does not answer within {} s", client.endpoint(), PATIENCE.as_secs()),
            "look at its log, or start it anew",
        ));
    };
    let status = answer?;
    if args.output.json {
        return print(&(pretty(&status.agent) + "\n"));
    }
    let halted = if status.agent.halted.is_some() { ", halted" } else { "" };
    print(&format!("the agent at {} answers{halted}\n", client.endpoint()))
}
