//! In front of a container: a listener inside its network namespace, and rules that lead a port's new connections there.
//! The service is dialled from inside, where it was going to be reached anyway. Nobody has to be told another address.
//!
//! A container that is started anew has a new namespace. [`Front::ended`] tells of its end; the target then looks for it
//! and stands in front of it again.

mod resident;
mod stands;
mod table;

pub(crate) use resident::Resident;
pub(crate) use stands::{Stands, follow};
pub(crate) use table::reserve;

use crate::listen::{self, Listener};
use crate::timers::watched;
use host::netlink::NetlinkError;
use host::netlink::sockets::Sockets;
use host::{Netns, ProcessId};
use inject::Container;
use model::Problem;
use model::target::Front as Spec;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use table::Table;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;

/// A container that we stand in front of.
pub(crate) struct Front {
    /// Which.
    pub(crate) container: Container,
    /// Where connections come that were led to us.
    pub(crate) listeners: Vec<Arc<Listener>>,
    /// Who dials from inside.
    pub(crate) resident: Arc<Resident>,
    table: Mutex<Option<Table>>,
    /// The tasks that accept for it.
    acceptors: Mutex<Vec<AbortHandle>>,
    /// Readable when the container's first process has ended.
    first: AsyncFd<OwnedFd>,
    /// Connections that were open before: they go past us.
    before: BTreeSet<String>,
    port: u16,
    outgoing: bool,
}

impl Front {
    /// Stands in front of it. On an error nothing was changed.
    pub(crate) async fn install(spec: &Spec, container: Container) -> Result<Front, Problem> {
        let (name, pid) = (container.name.clone(), container.pid);
        let id = ProcessId { pid, start: container.start };
        let handle = id.open().map_err(|e| {
            Problem::new(format!("container {name}: its first process: {e}"))
                .hint("look whether it still runs")
        })?;
        let first = handle.fd().as_fd().try_clone_to_owned();
        let first = first.and_then(watched);
        let first = first.map_err(|e| about(&name, "watching its first process", &e))?;
        let (front, who) = (spec.clone(), name.clone());
        let made = tokio::task::spawn_blocking(move || enter(&front, pid, &who)).await;
        let (ns, sockets) =
            made.map_err(|e| about(&name, "entering its network", &io::Error::other(e)))??;
        // A namespace is opened by a number, which may have gone to another process meanwhile.
        if !id.alive() {
            let ended = io::Error::from_raw_os_error(nix::libc::ENOENT);
            return Err(about(&name, "entering its network", &ended));
        }
        let mut listeners = Vec::new();
        let (mut v4, mut v6) = (None, None);
        for socket in sockets {
            let listening = listen::listening(socket).map_err(|e| about(&name, "listening inside", &e))?;
            let port = listening.local_addr().map_err(|e| about(&name, "listening inside", &e))?;
            *(if port.is_ipv4() { &mut v4 } else { &mut v6 }) = Some(port.port());
            listeners.push(Arc::new(Listener::within(listening, ns.clone())));
        }
        let (front, who) = (spec.clone(), name.clone());
        let rules = tokio::task::spawn_blocking(move || {
            let resident = Resident::start(&ns).map_err(|e| about(&who, "entering its network", &e))?;
            let entering = |e| about(&who, "entering its network", &e);
            let table = ns.run(|| Table::install(&front, v4, v6)).map_err(entering)?;
            let table = table.map_err(|e| rules_problem(&front, &who, &e))?;
            if front.reset_open {
                let ended = ns.run(|| end_open(&front)).map_err(entering)?;
                ended.map_err(|e| reset_problem(&who, &e))?;
            }
            // What was made before the rules were there, and no sooner.
            Ok::<_, Problem>((resident, table, open_now(pid, &front)))
        });
        let (resident, table, before) =
            rules.await.map_err(|e| about(&name, "making its rules", &io::Error::other(e)))??;
        Ok(Front {
            container,
            listeners,
            resident: Arc::new(resident),
            table: Mutex::new(Some(table)),
            acceptors: Mutex::default(),
            first,
            before,
            port: spec.port,
            outgoing: spec.outgoing,
        })
    }

    /// Leads nobody here any more; connections that are open go on.
    pub(crate) fn lift(&self) {
        if let Some(table) = &mut *self.lock() {
            // What is left of it goes with the socket, and connections that it led here with it.
            let _ = table.lift();
        }
    }

    /// That task accepts for it.
    pub(crate) fn accepts(&self, task: AbortHandle) {
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Removes the rules and accepts no more.
    pub(crate) fn end(&self) {
        if self.lock().take().is_some() {
            // Its descriptor is free, and a low one.
            table::reserve_one();
        }
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }

    /// Whether it stands in front of that container as it runs now.
    pub(crate) fn is_of(&self, container: &Container) -> bool {
        (self.container.pid, self.container.start) == (container.pid, container.start)
    }

    /// Waits until the container's first process has ended.
    pub(crate) async fn ended(&self) {
        // An error would mean that it cannot be watched, which was seen to work before.
        let _ = self.first.readable().await;
    }

    /// How many connections are open that were so before we came.
    pub(crate) fn gone_past(&self) -> usize {
        if self.before.is_empty() {
            return 0;
        }
        let spec = Spec { port: self.port, outgoing: self.outgoing, ..Spec::default() };
        open_now(self.container.pid, &spec).intersection(&self.before).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn about(name: &str, doing: &str, e: &io::Error) -> Problem {
    let hint = match e.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => {
            "run murphy as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_SYS_PTRACE"
        }
        Some(nix::libc::ENOENT) => "it ended in this moment: look with `docker ps`",
        _ => "look whether it still runs",
    };
    Problem::new(format!("container {name}: {doing}: {e}")).hint(hint)
}

fn rules_problem(spec: &Spec, name: &str, e: &NetlinkError) -> Problem {
    let table = table::name(spec);
    let what = format!("container {name}: leading port {} to the proxy: {e}", spec.port);
    let hint = match e.errno {
        nix::libc::EEXIST => {
            format!("another proxy of murphy stands there already (table {table} in its namespace)")
        }
        nix::libc::EPERM => "run murphy as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN".to_owned(),
        nix::libc::ENOENT | nix::libc::EOPNOTSUPP => {
            "the kernel needs nf_tables with nat and redirect: modprobe nft_redir, Linux 5.12 or newer"
                .to_owned()
        }
        _ => "look at `nft list ruleset` in its namespace".to_owned(),
    };
    Problem::new(what).hint(hint)
}

fn reset_problem(name: &str, e: &NetlinkError) -> Problem {
    let what = format!("container {name}: resetting the connections that are open: {e}");
    Problem::new(what).hint(match e.errno {
        nix::libc::EOPNOTSUPP => {
            "the kernel needs CONFIG_INET_DIAG_DESTROY: leave reset_open out and restart the clients"
        }
        _ => "leave reset_open out and restart the clients",
    })
}

/// Resets the connections at that port which are open. To be called by a thread in the namespace, before anything is
/// dialled from there: then none of them is ours.
fn end_open(spec: &Spec) -> Result<(), NetlinkError> {
    let mut sockets = Sockets::open()?;
    for one in sockets.established()? {
        let at = if spec.outgoing { one.remote } else { one.local };
        if at.port() == spec.port && one.local.ip() != one.remote.ip() {
            sockets.end(&one)?;
        }
    }
    Ok(())
}

/// Sockets bound inside, not listening yet.
fn enter(spec: &Spec, pid: u32, name: &str) -> Result<(Netns, Vec<TcpSocket>), Problem> {
    let ns = Netns::of_process(pid).map_err(|e| about(name, "opening its network namespace", &e))?;
    if ns.is_mine() {
        return Err(Problem::new(format!("container {name} is in the same network as murphy"))
            .hint("give the proxy listen and upstream instead of in_front_of"));
    }
    // What is redirected on its way in arrives at the address of the interface, on its way out at the loopback.
    let (four, six) = match spec.outgoing {
        false => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        true => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
    };
    let sockets = ns.run(|| {
        let first = listen::bound_for(SocketAddr::new(four.into(), 0))?;
        // Many containers have no IPv6.
        let second = listen::bound_for(SocketAddr::new(six.into(), 0)).ok();
        Ok::<_, io::Error>(std::iter::once(first).chain(second).collect())
    });
    let sockets = sockets.and_then(|s| s).map_err(|e| about(name, "entering its network", &e))?;
    Ok((ns, sockets))
}

/// The connections of that port which are open, as the kernel writes their ends.
fn open_now(pid: u32, spec: &Spec) -> BTreeSet<String> {
    let tables = ["tcp", "tcp6"].map(|file| std::fs::read_to_string(format!("/proc/{pid}/net/{file}")));
    tables.iter().flatten().flat_map(|text| established(text, spec)).collect()
}

/// The established connections of `/proc/net/tcp` (proc_net_tcp(5)) at that port, whose two ends differ.
fn established(text: &str, spec: &Spec) -> Vec<String> {
    const ESTABLISHED: &str = "01";
    let port = format!(":{:04X}", spec.port);
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state) = (*words.get(1)?, *words.get(2)?, *words.get(3)?);
        let host = |end: &str| end.split(':').next().map(str::to_owned);
        let at = if spec.outgoing { remote } else { local };
        // What the container says to itself never comes to us.
        let counts = state == ESTABLISHED && at.ends_with(&port) && host(local) != host(remote);
        counts.then(|| format!("{local} {remote}"))
    };
    text.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_connections_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
                     0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
                     1: 030012AC:1538 040012AC:9C4E 01 00000000:00000000 00:00000000 00000000     0\n   \
                     2: 030012AC:1538 030012AC:9C50 01 00000000:00000000 00:00000000 00000000     0\n   \
                     3: 030012AC:B1D2 050012AC:18EB 01 00000000:00000000 00:00000000 00000000     0\n";
        let at = |port, outgoing| established(table, &Spec { port, outgoing, ..Spec::default() }).len();
        assert_eq!((at(0x1538, false), at(0x1538, true), at(0x18EB, true), at(0x18EB, false)), (1, 0, 1, 0));
    }
}
