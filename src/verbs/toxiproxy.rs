//! `murphy toxiproxy`: a drop-in for toxiproxy-server.

use super::print;
use crate::cli::Toxiproxy;
use crate::failure::{Failure, Outcome};
use crate::house::{House, Opening, interrupt, socket_path};
use control::toxiproxy::{Door, Options};
use control::{Client, Endpoint};
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The flags that toxiproxy-server takes with one dash.
const FLAGS: [&str; 7] = ["host", "port", "config", "proxy-metrics", "runtime-metrics", "seed", "help"];

/// Serves until it is interrupted, then takes everything back.
pub async fn toxiproxy(args: Toxiproxy) -> Outcome {
    let mut stop = interrupt()?;
    if let Some(most) = args.max_for.filter(|m| *m > model::fault::LONGEST || m.0.is_zero()) {
        return Err(Failure::usage(
            format!("--max-for {most} is not a length that a toxic can have"),
            "write between 1ms and 7d, or leave it out: then toxics last until they are removed",
        ));
    }
    let listen = resolve(&args.host, args.port).await?;
    let opening = Opening { socket: socket(args.socket.as_deref()).await?, ..Opening::default() };
    let house = House::foreground_with("toxiproxy", opening).await?;
    let options = Options {
        proxy_metrics: args.proxy_metrics,
        runtime_metrics: args.runtime_metrics,
        seed: args.seed.map_or_else(random_seed, |s| s as u64),
        max_for: args.max_for,
        ..Options::default()
    };
    let door = match open(&house, listen, options).await {
        Ok(door) => door,
        Err(e) => {
            house.close().await?;
            return Err(e);
        }
    };
    if let Some(file) = &args.config {
        // As with the original, the server is there all the same.
        match door.populate(file).await {
            Ok(n) => tell!("{n} proxies from {}", file.display()),
            Err(e) => tell!("warning: {e}"),
        }
    }
    print(&format!("murphy toxiproxy on http://{}\n", door.address()))?;
    print(&format!("murphy agent on unix:{}\n", house.socket.display()))?;
    let who = stop.recv().await.unwrap_or("the end of its signals");
    tell!("{who}: taking everything back");
    door.close().await;
    house.close().await
}

/// Opens the door on an agent.
pub async fn open(house: &House, listen: SocketAddr, options: Options) -> Result<Door, Failure> {
    let door = Door::open(listen, house.service.clone(), options).await.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "a toxiproxy-server, or another murphy, listens there: end it, or choose another port"
            }
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "listen on an address of this machine, such as 127.0.0.1",
        };
        Failure::cannot(format!("cannot listen on {listen} for Toxiproxy's clients: {e}"), hint)
    })?;
    if !door.address().ip().to_canonical().is_loopback() {
        tell!(
            "warning: {} can be reached from other machines, and Toxiproxy's API has no authentication: anyone there may \
             open ports on this machine and break what passes them",
            door.address()
        );
    }
    Ok(door)
}

/// A seed that nobody chose: std keys its hash maps at random, which is random enough for this.
pub fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// The command line with the flags of `murphy toxiproxy` written with two dashes.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = given.collect();
    if all.get(1).is_none_or(|verb| verb != "toxiproxy") {
        return all;
    }
    for arg in all.iter_mut().skip(2) {
        let Some(rest) = arg.to_str().and_then(|text| text.strip_prefix('-')) else { continue };
        if FLAGS.contains(&rest.split('=').next().unwrap_or_default()) {
            *arg = format!("--{rest}").into();
        }
    }
    all
}

/// Where the control socket is: as given, else where `murphy list` and the console look, unless another agent is there.
async fn socket(given: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let path = socket_path(given)?;
    let taken = Client::new(Endpoint::unix(&path)).status().await.is_ok();
    // Its own directory has a place for one, too, where `murphy halt` finds it.
    Ok((!taken).then_some(path))
}

/// The address of a host, the older kind first, as Go has it.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let name = if host.is_empty() { "::" } else { host };
    let found: Vec<SocketAddr> = match tokio::net::lookup_host((name, port)).await {
        Ok(found) => found.collect(),
        Err(e) => {
            return Err(Failure::usage(
                format!("--host {host}: {e}"),
                "write a name or an address of this machine, such as 127.0.0.1",
            ));
        }
    };
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first()).copied();
    first.ok_or_else(|| Failure::usage(format!("--host {host} has no address"), "write 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let all = arguments(line.split(' ').map(OsString::from));
        all.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_with_one_dash() {
        assert_eq!(
            translated("murphy toxiproxy -host 0.0.0.0 -port=1 --config x -proxy-metrics=true -seed -3"),
            "murphy toxiproxy --host 0.0.0.0 --port=1 --config x --proxy-metrics=true --seed -3"
        );
        assert_eq!(translated("murphy list -host"), "murphy list -host");
    }
}
