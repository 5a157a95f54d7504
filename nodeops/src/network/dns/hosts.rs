//! What a target knows about names: its hosts file, its name servers, its search list; and a name looked up as it would.

use super::wire::{self, A, AAAA, Query};
use host::Netns;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a name server may take, as resolvers have it.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How names resolve somewhere: resolv.conf(5) and hosts(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The name servers.
    pub servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

impl Names {
    /// Those of a process, in its own file system; else those that `ip netns exec` would give a namespace of that name;
    /// else this machine's.
    pub(crate) fn of(pid: Option<u32>, ns: &Netns) -> Names {
        let etc = match (pid, ns.path().strip_prefix("/run/netns").ok()) {
            (Some(pid), _) => PathBuf::from(format!("/proc/{pid}/root/etc")),
            (None, Some(name)) => Path::new("/etc/netns").join(name),
            (None, None) => PathBuf::from("/etc"),
        };
        let read = |file: &str| {
            let own = fs::read_to_string(etc.join(file));
            own.or_else(|_| fs::read_to_string(Path::new("/etc").join(file))).unwrap_or_default()
        };
        Names::parse(&read("resolv.conf"), &read("hosts"))
    }

    fn parse(resolv: &str, hosts: &str) -> Names {
        let mut names = Names { ndots: 1, ..Names::default() };
        for line in resolv.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|w| w.split('%').next()?.parse::<IpAddr>().ok());
                    names.servers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search" | "domain") => names.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    for word in words {
                        if let Some(n) = word.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                            names.ndots = n;
                        }
                    }
                }
                _ => {}
            }
        }
        for line in hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                names.hosts.entry(name.to_ascii_lowercase()).or_default().push(ip);
            }
        }
        names
    }

    /// What is asked for when a program says that name: also with each end of the search list, as container engines and
    /// clusters have it. With a dot behind it, only itself.
    pub(crate) fn spellings(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let ends = self.search.iter().map(|end| end.trim_end_matches('.').to_ascii_lowercase());
        let mut all = vec![name.to_owned()];
        all.extend(ends.filter(|end| !end.is_empty()).map(|end| format!("{name}.{end}")));
        all
    }

    /// What a name stands for; asked inside the namespace, from a socket that no fault is for. Empty when nobody knows it.
    pub(crate) fn look_up(&self, name: &str, mark: u32) -> Vec<IpAddr> {
        if let Some(found) = self.hosts.get(name) {
            return found.clone();
        }
        let mut tried: Vec<String> = self.search.iter().map(|suffix| format!("{name}.{suffix}")).collect();
        let bare = if name.matches('.').count() >= self.ndots { 0 } else { tried.len() };
        tried.insert(bare, name.to_owned());
        for full in tried {
            let mut found: Vec<IpAddr> =
                [A, AAAA].iter().flat_map(|kind| self.ask(&full, *kind, mark).unwrap_or_default()).collect();
            found.sort();
            found.dedup();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn ask(&self, name: &str, kind: u16, mark: u32) -> Option<Vec<IpAddr>> {
        let id = (host::clock::boottime().subsec_nanos() >> 4) as u16;
        let query = Query::ask(id, name, kind)?;
        for server in &self.servers {
            let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
            let Ok(socket) = UdpSocket::bind((any, 0)) else { continue };
            // Without the mark (no CAP_NET_ADMIN) no fault could have been armed either.
            let _ = host::frames::set_mark(&socket, mark);
            if socket.connect(server).is_err() || socket.send(&query).is_err() {
                continue;
            }
            let until = Instant::now() + PATIENCE;
            let mut buffer = [0; 4096];
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
                if socket.set_read_timeout(Some(left)).is_err() {
                    break;
                }
                let Ok(n) = socket.recv(&mut buffer) else { break };
                if buffer[..n].get(..2) == Some(&id.to_be_bytes()) {
                    return wire::answer(&buffer[..n], id);
                }
            }
        }
        None
    }
}

/// What names stand for in a namespace now; those that nobody knows are not in it.
pub(crate) fn look_up(
    ns: &Netns,
    pid: Option<u32>,
    names: &[String],
    mark: u32,
) -> BTreeMap<String, Vec<IpAddr>> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let known = Names::of(pid, ns);
    let one = |name: &String| {
        let found = known.look_up(name, mark);
        (!found.is_empty()).then(|| (name.clone(), found))
    };
    // Where it cannot be entered, nothing resolves, and who asked says so.
    ns.run(|| names.iter().filter_map(one).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let names = Names::parse(
            "# by hand\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\nsearch shop.internal x\noptions ndots:0\n",
            "127.0.0.1 localhost\n10.0.0.9  DB db.internal # ours\n::1 localhost\n",
        );
        assert_eq!(names.servers, ["127.0.0.11:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()]);
        assert_eq!((names.search.len(), names.ndots), (2, 0));
        assert_eq!(names.look_up("db", 0), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(names.look_up("localhost", 0).len(), 2);
        assert_eq!(names.spellings("db"), ["db", "db.shop.internal", "db.x"]);
        assert_eq!(names.spellings("db.x."), ["db.x"]);
    }
}
