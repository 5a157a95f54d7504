use super::arm::matcher;
use super::{pretty, print};
use crate::cli::requests::{RequestAct, Requests};
use crate::failure::{Failure, Outcome};
use crate::house::found;
use control::{Client, HoldOrder, RequestList, RequestQuery};
use model::{RequestState, RequestView, Talker};
use std::fmt::Write;
use std::time::Duration;

/// How often new requests are asked for.
const TICK: Duration = Duration::from_millis(250);

/// `murphy requests`
pub async fn requests(args: Requests) -> Outcome {
    match args.act {
        Some(act) => do_about_them(act).await,
        None => {
            let Requests { target, fault, state, text, limit, .. } = args;
            let query = RequestQuery { target, fault, state, text, after: 0, limit };
            let client = found(&args.which)?;
            if args.follow {
                return follow(&client, query, args.output.json).await;
            }
            let list = client.requests(&query).await?;
            if args.output.json {
                return print(&(pretty(&list) + "\n"));
            }
            print(&plain(&list, &query))
        }
    }
}

/// Prints each request once, when it is over, in the order of their ends as far as one look tells it.
async fn follow(client: &Client, query: RequestQuery, json: bool) -> Outcome {
    let query = RequestQuery { limit: control::requests::LONGEST, ..query };
    // The first look wakes the watch: what is over from then on is told.
    let mut told: std::collections::BTreeSet<u64> =
        over(&client.requests(&query).await?).map(|r| r.id).collect();
    if !json {
        print(&(line(&HEADS.map(str::to_owned)) + "\n"))?;
    }
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(0),
            () = tokio::time::sleep(TICK) => {}
        }
        let list = client.requests(&query).await?;
        let mut out = String::new();
        for request in over(&list).filter(|r| !told.contains(&r.id)) {
            let text =
                if json { serde_json::to_string(request).unwrap_or_default() } else { line(&row(request)) };
            let _ = writeln!(out, "{text}");
        }
        // Only numbers that the agent still keeps can come again.
        told = over(&list).map(|r| r.id).collect();
        print(&out)?;
    }
}

fn over(list: &RequestList) -> impl Iterator<Item = &RequestView> {
    list.requests.iter().filter(|r| matches!(r.state, RequestState::Done | RequestState::Broken))
}

async fn do_about_them(act: RequestAct) -> Outcome {
    let (output, done, said) = match act {
        RequestAct::Hold { target, when, lease, which, output } => {
            let order =
                HoldOrder { target, when: matcher(&when).map_err(Failure::Usage)?, lease: Some(lease) };
            let hold = found(&which)?.hold_requests(&order).await?;
            let which =
                order.when.map_or_else(|| "all requests".to_owned(), |when| format!("requests {when}"));
            let said = format!(
                "{which} of {} are held for {lease} at most; murphy requests --state held shows them, \
                 murphy requests resume {} lets them go on",
                hold.target, hold.id
            );
            (output, serde_json::to_value(&hold).unwrap_or_default(), said)
        }
        RequestAct::Release { id, which, output } => {
            found(&which)?.release_request(id).await?;
            (output, serde_json::json!({"id": id, "done": "released"}), format!("request {id} goes on"))
        }
        RequestAct::Resume { hold, which, output } => {
            found(&which)?.end_hold(hold).await?;
            (
                output,
                serde_json::json!({"id": hold, "done": "resumed"}),
                "nothing of it is held any more".into(),
            )
        }
        RequestAct::Top { target, by, limit, which, output } => {
            let list = found(&which)?.top(&target, by, limit).await?;
            let text = talkers(&list, by.word());
            (output, serde_json::to_value(&list).unwrap_or_default(), text)
        }
    };
    if output.json {
        return print(&(pretty(&done) + "\n"));
    }
    print(&(said + "\n"))
}

const HEADS: [&str; 11] = [
    "ID", "TARGET", "CLIENT", "METHOD", "STATUS", "TOTAL", "INJECTED", "UPSTREAM", "STATE", "FAULTS", "PATH",
];
const WIDE: [usize; 11] = [8, 14, 21, 7, 6, 10, 10, 10, 9, 24, 0];

fn plain(list: &RequestList, query: &RequestQuery) -> String {
    if list.requests.is_empty() {
        let all = *query == RequestQuery::default();
        return if all {
            "no request has come since somebody looks; they are kept from now on, for 30 s (or --follow)\n"
                .into()
        } else {
            "no request is like that\n".into()
        };
    }
    let mut out = line(&HEADS.map(str::to_owned)) + "\n";
    for request in &list.requests {
        let _ = writeln!(out, "{}", line(&row(request)));
    }
    let shown = list.requests.len();
    if shown < list.total {
        let _ = writeln!(out, "the last {shown} of {}; --limit shows more", list.total);
    }
    for hold in &list.holds {
        let which = hold.when.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
        let _ = writeln!(
            out,
            "hold {} on {} ({which}) holds {} for another {}",
            hold.id, hold.target, hold.requests, hold.left
        );
    }
    out
}

fn line(cells: &[String]) -> String {
    let mut line = String::new();
    for (i, (cell, wide)) in cells.iter().zip(WIDE).enumerate() {
        let right = matches!(HEADS[i], "ID" | "TOTAL" | "INJECTED" | "UPSTREAM");
        let _ = if right { write!(line, "{cell:>wide$}  ") } else { write!(line, "{cell:<wide$}  ") };
    }
    line.trim_end().to_owned()
}

fn row(r: &RequestView) -> [String; 11] {
    let ms = |ms: f64| format!("{ms:.1} ms");
    let faults: Vec<String> = r
        .faults
        .iter()
        .filter(|f| f.taken)
        .map(|f| {
            let draw = f.draw.map_or_else(String::new, |d| format!("({d:.3})"));
            format!("{}{}{draw}", f.fault, if f.applied { "*" } else { "" })
        })
        .collect();
    [
        r.id.to_string(),
        r.target.to_string(),
        r.client.clone().unwrap_or_else(|| "-".into()),
        r.method.clone(),
        r.status.map_or_else(|| "-".into(), |s| s.to_string()),
        ms(r.total_ms),
        ms(r.injected_ms),
        r.upstream_ms.map_or_else(|| "-".into(), ms),
        r.state.to_string(),
        if faults.is_empty() { "-".into() } else { faults.join(" ") },
        r.path.clone(),
    ]
}

fn talkers(list: &[Talker], by: &str) -> String {
    if list.is_empty() {
        return "nobody has asked since somebody looks; look again in a moment".into();
    }
    let mut out = format!(
        "{:>10} {:>10} {:>8} {:>12}  {}",
        "REQUESTS",
        "PER SECOND",
        "ERRORS",
        "BYTES DOWN",
        by.to_uppercase()
    );
    for t in list {
        let over = if t.at_most_over > 0 {
            format!(" (at most {} too many)", t.at_most_over)
        } else {
            String::new()
        };
        let _ = write!(
            out,
            "\n{:>10} {:>10.1} {:>8} {:>12}  {}{over}",
            t.requests, t.per_second, t.errors, t.bytes_down, t.key
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_was_drawn_and_what_is_held() {
        let list: RequestList = serde_json::from_value(serde_json::json!({
            "total": 2, "held": 0,
            "holds": [{"id": 3, "target": "proxy:web", "when": {"path": "/pay*"}, "left": "58s", "requests": 0}],
            "requests": [{"id": 9, "target": "proxy:web", "connection": 1, "client": "10.0.0.1:4000", "at_ms": 1,
                "method": "GET", "path": "/pay", "http": "1.1", "state": "done", "status": 503, "total_ms": 1.25,
                "injected_ms": 0.0, "bytes_up": 0, "bytes_down": 4,
                "faults": [{"id": "f", "fault": "abort", "ordinal": 4, "draw": 0.1234, "taken": true, "applied": true},
                           {"id": "g", "fault": "delay", "ordinal": 4, "draw": 0.9, "taken": false, "applied": false}]}],
        }))
        .unwrap();
        let text = plain(&list, &RequestQuery::default());
        assert!(text.contains("abort*(0.123)") && !text.contains("delay"), "{text}");
        assert!(text.contains("the last 1 of 2"), "{text}");
        assert!(text.contains("hold 3 on proxy:web (/pay*) holds 0 for another 58s"), "{text}");
        assert!(plain(&RequestList::default(), &RequestQuery::default()).contains("--follow"));
    }
}
