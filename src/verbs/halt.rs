use super::{pretty, print};
use crate::cli::Halt;
use crate::failure::{FAILED, Failure, Outcome};
use crate::house;
use control::endpoint::Place;
use control::{Client, ClientError};

/// `murphy halt`: the agent that is named, or every agent of this user: the one that serves, and those in the foreground
/// (`run`, `arm`, `demo`). Everyone is tried, also when one does not answer.
pub async fn halt(args: Halt) -> Outcome {
    let clients = match args.socket {
        Some(_) => vec![Client::new(house::endpoint(args.socket.as_deref(), &args.shown)?)],
        None => house::own_agents(&args.shown).into_iter().map(Client::new).collect(),
    };
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for client in &clients {
        let name = client.endpoint().to_string();
        let answer =
            if args.lift { client.lift().await.map(|()| None) } else { client.halt().await.map(Some) };
        match answer {
            Ok(halted) => answers.push((name, halted)),
            // A socket that was left behind is nobody.
            Err(ClientError::Refused { .. } | ClientError::NoSocket { .. })
                if args.socket.is_none() && matches!(client.endpoint().place, Place::Unix(_)) => {}
            Err(e) if args.lift && args.socket.is_none() && e.code() == Some(control::Code::Conflict) => {}
            Err(e) => failures.push(e),
        }
    }
    if args.socket.is_none() {
        house::persist_halt(!args.lift)?;
    }
    if args.output.json {
        let list: Vec<_> =
            answers.iter().map(|(name, h)| serde_json::json!({"agent": name, "halted": h})).collect();
        print(&(pretty(&list) + "\n"))?;
    } else {
        for (name, halted) in &answers {
            match halted {
                None => print(&format!("{name}: the halt is lifted\n"))?,
                Some(h) if h.faults.is_empty() => print(&format!("{name}: halted; nothing was armed\n"))?,
                Some(h) => print(&format!("{name}: halted; taken back: {}\n", h.faults.join(", ")))?,
            };
            for (id, why) in halted.iter().flat_map(|h| &h.failed) {
                tell!("error: {name}: {id} could not be taken back: {why}");
                failures
                    .push(ClientError::Failure(control::Failure::new(control::Code::Internal, why.clone())));
            }
        }
        if answers.is_empty() && failures.is_empty() {
            print(if args.lift {
                "the halt is lifted: faults may be armed again\n"
            } else {
                "no agent is running; nothing can be armed until `murphy halt --lift`\n"
            })?;
        }
    }
    match failures.len() {
        0 => Ok(0),
        1 if answers.is_empty() => Err(Failure::from(failures.remove(0))),
        _ => {
            failures.iter().for_each(|e| tell!("error: {e}"));
            Ok(FAILED)
        }
    }
}
