use super::{pretty, print};
use crate::cli::{ConnectionAct, Connections};
use crate::failure::Outcome;
use crate::house::found;
use control::{Close, ConnectionList, ConnectionQuery};
use model::ConnectionView;
use model::units::Span;
use std::fmt::Write;

/// `murphy connections`
pub async fn connections(args: Connections) -> Outcome {
    match args.act {
        Some(act) => do_to_one(act).await,
        None => {
            let Connections { target, fault, text, sort, limit, .. } = args;
            let query = ConnectionQuery { target, fault, text, sort, limit };
            let list = found(&args.which)?.connections(&query).await?;
            if args.output.json {
                return print(&(pretty(&list) + "\n"));
            }
            print(&plain(&list, &query))
        }
    }
}

async fn do_to_one(act: ConnectionAct) -> Outcome {
    let (output, id, word, said) = match act {
        ConnectionAct::Close { id, rst, which, output } => {
            let how = if rst { Close::Rst } else { Close::Fin };
            found(&which)?.close_connection(id, how).await?;
            let word = if rst { "reset" } else { "closed" };
            (output, id, word, format!("connection {id} is {word}"))
        }
        ConnectionAct::Hold { id, lease, which, output } => {
            found(&which)?.hold_connection(id, Some(lease)).await?;
            let next = format!("murphy connections release {id} lets it go on");
            (output, id, "held", format!("connection {id} is held, for {lease} at most; {next}"))
        }
        ConnectionAct::Release { id, which, output } => {
            found(&which)?.release_connection(id).await?;
            (output, id, "released", format!("connection {id} goes on"))
        }
    };
    if output.json {
        return print(&(pretty(&serde_json::json!({"id": id, "done": word})) + "\n"));
    }
    print(&(said + "\n"))
}

const HEADS: [&str; 9] = ["ID", "CLIENT", "TARGET", "UPSTREAM", "AGE", "UP", "DOWN", "STATE", "FAULTS"];

fn plain(list: &ConnectionList, query: &ConnectionQuery) -> String {
    if list.connections.is_empty() {
        let all = *query == ConnectionQuery::default();
        return if all {
            "no connection is open; they show up here when clients connect through a proxy (murphy list)\n"
                .into()
        } else {
            "no open connection is like that\n".into()
        };
    }
    let rows: Vec<[String; 9]> = list.connections.iter().map(row).collect();
    let wide: Vec<usize> = (0..HEADS.len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0).max(HEADS[i].len()))
        .collect();
    let mut out = String::new();
    let mut say = |cells: &[String]| {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let width = wide[i];
            let right = matches!(HEADS[i], "ID" | "AGE" | "UP" | "DOWN");
            let _ = if right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    };
    say(&HEADS.map(str::to_owned));
    rows.iter().for_each(|r| say(r));
    let shown = list.connections.len();
    if shown < list.total {
        let _ = writeln!(out, "{shown} of {}; --limit shows more", list.total);
    }
    if list.held > 0 {
        let _ = writeln!(out, "{} held", list.held);
    }
    out
}

fn row(c: &ConnectionView) -> [String; 9] {
    let faults: Vec<String> =
        c.faults.iter().map(|f| format!("{}{}", f.fault, if f.applied { "*" } else { "" })).collect();
    [
        c.id.to_string(),
        c.client.clone().unwrap_or_else(|| "-".into()),
        c.target.to_string(),
        c.upstream.clone().unwrap_or_else(|| "-".into()),
        Span::secs(c.age_ms / 1000).to_string(),
        c.bytes_up.to_string(),
        c.bytes_down.to_string(),
        c.state.to_string(),
        if faults.is_empty() { "-".into() } else { faults.join(" ") },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_was_applied_and_what_is_left_out() {
        let view: ConnectionView = serde_json::from_str(
            r#"{"id": 17, "target": "proxy:web", "client": "10.0.3.7:41822", "age_ms": 61500, "bytes_up": 214,
                "bytes_down": 38, "state": "held",
                "faults": [{"id": "f1", "fault": "latency", "applied": true}, {"id": "f2", "fault": "cut", "applied": false}]}"#,
        )
        .unwrap();
        let list = ConnectionList { total: 3, held: 1, connections: vec![view] };
        let text = plain(&list, &ConnectionQuery::default());
        let want = "\
ID  CLIENT          TARGET     UPSTREAM   AGE   UP  DOWN  STATE  FAULTS
17  10.0.3.7:41822  proxy:web  -         1m1s  214    38  held   latency* cut
1 of 3; --limit shows more
1 held
";
        assert_eq!(text, want);
        let none = ConnectionList::default();
        assert!(plain(&none, &ConnectionQuery::default()).contains("murphy list"));
        let some = ConnectionQuery { fault: true, ..ConnectionQuery::default() };
        assert!(plain(&none, &some).contains("like that"));
    }
}
