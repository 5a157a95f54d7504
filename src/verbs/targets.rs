use super::{pretty, print};
use crate::cli::Targets;
use crate::failure::Outcome;
use crate::house::{client, default_socket};
use model::sample::TargetState;
use nodeops::seen::{Seen, seen};
use std::fmt::Write;

/// `murphy targets`: what is open on the agent, what there is on this machine, and what is in the way of seeing more.
pub async fn targets(args: Targets) -> Outcome {
    let mut seen = seen().await;
    let named = args.which.socket.is_some();
    let mut open = Vec::new();
    if named || default_socket().exists() {
        match client(&args.which)?.targets().await {
            Ok(list) => open = list,
            // Without an agent there is still everything else to be seen.
            Err(e) if named => seen.missing.push(format!("what is open on the agent: {e}")),
            Err(_) => {}
        }
    }
    if args.output.json {
        let mut all = serde_json::to_value(&seen).unwrap_or_default();
        all["open"] = serde_json::to_value(&open).unwrap_or_default();
        return print(&(pretty(&all) + "\n"));
    }
    print(&plain(&open, &seen))
}

fn plain(open: &[TargetState], seen: &Seen) -> String {
    let mut out = String::new();
    let mut table = |title: &str, rows: Vec<[String; 3]>| {
        if rows.is_empty() {
            return;
        }
        let wide = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        let (first, second) = (wide(0), wide(1));
        let _ = writeln!(out, "{title}");
        for [a, b, c] in &rows {
            let line = format!("  {a:<first$}  {b:<second$}  {c}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push('\n');
    };
    let state = |up: bool| if up { "open" } else { "down" }.to_owned();
    table(
        "open on the agent",
        open.iter().map(|t| [t.target.to_string(), state(t.up), t.about.clone()]).collect(),
    );
    let containers = seen.containers.iter().map(|c| {
        let mut words = vec![c.image.clone()];
        if let Some(service) = &c.service {
            words.push(format!("service {service}"));
        }
        let who = c.service.as_deref().unwrap_or(c.target.trim_start_matches("container:"));
        words.extend(c.ports.iter().map(|port| format!("proxy:{who}:{port}")));
        words.extend(c.labels.iter().take(4).map(|(key, value)| format!("{key}={value}")));
        [c.target.clone(), c.state.clone(), words.join("  ")]
    });
    table("containers", containers.collect());
    let services = seen.services.iter().map(|s| {
        let group = s.target.clone().unwrap_or_default();
        [s.unit.clone(), "running".to_owned(), group]
    });
    table("services of systemd (node:self service_stop unit=…)", services.collect());
    let namespaces = seen.namespaces.iter().map(|n| {
        let who = n.first.as_deref().map_or(String::new(), |name| format!("{name}, "));
        let count =
            if n.processes == 1 { "1 process".to_owned() } else { format!("{} processes", n.processes) };
        [n.target.clone(), format!("net:[{}]", n.inode), format!("{who}{count}")]
    });
    table("network namespaces", namespaces.collect());
    let mounts = seen.mounts.iter().map(|m| {
        let inside = m.pid.map_or(String::new(), |pid| format!("in the mount namespace of process {pid}"));
        [m.target.clone(), "served".to_owned(), inside]
    });
    table("directories served by murphy", mounts.collect());
    let links =
        seen.interfaces.iter().map(|name| [format!("node:{name}"), "interface".to_owned(), String::new()]);
    let this = [["node:self".to_owned(), "this machine".to_owned(), String::new()]];
    table("this machine", this.into_iter().chain(links).collect());
    if !seen.missing.is_empty() {
        let _ = writeln!(out, "what is missing to see or reach more");
        for what in &seen.missing {
            let _ = writeln!(out, "  {what}");
        }
    }
    out
}
