//! The console on an agent in memory, behind a real server: to look at screens without a service.
//!
//! `cargo run -p murphy-tui --example console -- [light] [mono] [dots|blocks] [quiet|empty|two|gone|lone] [flood] [read-only]`

#[path = "../../control/tests/support/memory.rs"]
mod memory;
#[path = "../tests/support/sim.rs"]
mod sim;

use control::{Endpoint, Options, Server, SocketOptions};
use memory::Memory;
use std::sync::Arc;
use std::time::Duration;

/// Requests per second, by proxy.
type Rates = &'static [(&'static str, f64)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let said = |w: &str| words.iter().any(|x| x == w);
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut attach = Vec::new();
    let mut servers = Vec::new();
    let mut agents: Vec<(Arc<Memory>, Rates)> = Vec::new();
    if said("empty") {
        agents.push((Memory::new("edge-1"), &[]));
    } else if said("quiet") {
        agents.push((Memory::new("edge-1").with_proxy("cart", true), &[]));
    } else if said("lone") {
        let memory = Memory::new("edge-1").with_proxy("cart", true);
        sim::history(&memory, 100, &[("cart", 412.0)], |_, _| {});
        agents.push((memory, &[("cart", 412.0)]));
    } else if !said("gone") {
        agents.push((sim::shop(), &sim::RATES));
    }
    if said("two") {
        let memory = Memory::new("db-1").with_proxy("redis", false);
        sim::history(&memory, 200, &[("redis", 96.0)], |_, _| {});
        agents.push((memory, &[("redis", 96.0)]));
    }
    for (i, (memory, rates)) in agents.into_iter().enumerate() {
        let path = dir.path().join(format!("agent-{i}.sock"));
        let options = Options { socket: Some(SocketOptions::new(&path)), tcp: None };
        servers.push(runtime.block_on(Server::start(options, memory.clone()))?);
        attach.push(Endpoint::unix(path));
        if said("flood") {
            let memory = memory.clone();
            runtime.spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                for n in 0_u64.. {
                    tick.tick().await;
                    for i in 0..100 {
                        let text = format!("event {}", n * 100 + i);
                        memory.event(model::EventKind::Note { level: model::event::Level::Info, text });
                    }
                }
            });
        }
        runtime.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            tick.tick().await;
            for t in 300.. {
                tick.tick().await;
                if !rates.is_empty() {
                    sim::second(&memory, t, rates);
                }
            }
        });
    }
    if said("gone") || said("two") {
        attach.push(Endpoint::unix(dir.path().join("nobody.sock")));
    }
    let options = tui::Options {
        attach,
        read_only: said("read-only"),
        theme: if said("light") { tui::Theme::Light } else { tui::Theme::Dark },
        no_color: said("mono"),
        marker: match () {
            () if said("dots") => tui::Marker::Dots,
            () if said("blocks") => tui::Marker::Blocks,
            () => tui::Marker::Braille,
        },
    };
    let outcome = tui::run(options)?;
    println!("{outcome:?}");
    runtime.block_on(async {
        for server in servers {
            server.stop().await;
        }
    });
    Ok(())
}
