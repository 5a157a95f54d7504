//! Counters in the words of the original, counted live.

use super::book::Book;
use super::refused::Refused;
use model::{TargetKind, TargetRef};
use std::fmt::Write;

/// The page that a collector reads.
pub(super) async fn page(book: &Book, proxies: bool, runtime: bool) -> Result<String, Refused> {
    let mut out = String::new();
    if proxies {
        traffic(book, &mut out).await?;
    }
    if runtime {
        // Reads of /proc do not wait for anything.
        process(&mut out);
    }
    Ok(out)
}

async fn traffic(book: &Book, out: &mut String) -> Result<(), Refused> {
    let pages = book.pages().await?;
    let totals = book.agent.totals();
    let mut lines = Vec::new();
    for (name, proxy) in &pages.proxies {
        let now = totals.get(&TargetRef::new(TargetKind::Proxy, name.clone())).filter(|_| proxy.enabled);
        let (up, down) = now.map_or((0, 0), |sample| (sample.bytes_up, sample.bytes_down));
        for (direction, bytes) in [("downstream", proxy.earlier.1 + down), ("upstream", proxy.earlier.0 + up)]
        {
            lines.push(format!(
                "{{direction=\"{direction}\",listener=\"{}\",proxy=\"{}\",upstream=\"{}\"}} {bytes}",
                escape(&proxy.listen),
                escape(name),
                escape(&proxy.upstream)
            ));
        }
    }
    for (name, help) in [
        (
            "toxiproxy_proxy_received_bytes_total",
            "The total number of bytes received on a proxy in a direction.",
        ),
        ("toxiproxy_proxy_sent_bytes_total", "The total number of bytes sent on a proxy in a direction."),
    ] {
        head(out, name, help, "counter");
        for line in &lines {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{name}{line}");
        }
    }
    Ok(())
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What every process has. Where the machine does not tell, the line is left out.
fn process(out: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; what follows the last of them is plain.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<f64>().ok());
    let (ticks, page) =
        (sysconf(nix::unistd::SysconfVar::CLK_TCK), sysconf(nix::unistd::SysconfVar::PAGE_SIZE));
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|dir| dir.count() as f64);
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok();
    let values = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
        ),
        (
            "process_max_fds",
            "gauge",
            "Maximum number of open file descriptors.",
            most.map(|(soft, _)| soft as f64),
        ),
        ("process_open_fds", "gauge", "Number of open file descriptors.", descriptors),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            field(24).map(|pages| pages * page),
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            field(22).zip(boot).map(|(start, boot)| boot + start / ticks),
        ),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23)),
    ];
    for (name, kind, help, value) in values {
        if let Some(value) = value {
            head(out, name, help, kind);
            let _ = writeln!(out, "{name} {value}");
        }
    }
}

fn sysconf(what: nix::unistd::SysconfVar) -> f64 {
    nix::unistd::sysconf(what).ok().flatten().map_or(f64::NAN, |n| n as f64)
}
