//! What is left alone by default: the SSH connection that one is sitting on, and murphy's own control connections. ARP and
//! neighbour discovery always are: without them the machine is lost within minutes whatever else is left alone.

use super::filter::Exempt;
use std::fs;
use std::net::IpAddr;

/// The connections to be left alone in a namespace. `words` are those of the parameter; `here` says that it is ours.
pub(crate) fn exempt(words: &[String], here: bool, control: &[u16]) -> Vec<Exempt> {
    let wants = |word: &str| words.iter().any(|w| w == word) && !words.iter().any(|w| w == "nothing");
    let mut out = Vec::new();
    if !here {
        return out;
    }
    if wants("ssh") {
        out.push(match connection() {
            Some((ip, port, local_port, _)) => Exempt { local_port, peer: Some((ip, Some(port))) },
            // An agent that was not started from a terminal does not know who sits where.
            None => Exempt { local_port: 22, peer: None },
        });
    }
    if wants("control") {
        out.extend(control.iter().map(|port| Exempt { local_port: *port, peer: None }));
    }
    out
}

/// The SSH connection of this session: the peer, its port, the port on this side, and the address on this side. From `SSH_CONNECTION` (ssh(1)) of
/// this process, or of one that it descends from, because sudo(8) takes it away.
pub(crate) fn connection() -> Option<(IpAddr, u16, u16, IpAddr)> {
    if let Some(found) = std::env::var("SSH_CONNECTION").ok().as_deref().and_then(parse) {
        return Some(found);
    }
    host::process::ancestors(std::process::id()).into_iter().find_map(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let line = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"SSH_CONNECTION="))?;
        parse(std::str::from_utf8(line).ok()?)
    })
}

/// `client-address client-port server-address server-port`
fn parse(text: &str) -> Option<(IpAddr, u16, u16, IpAddr)> {
    let mut words = text.split_whitespace();
    let address = |word: &str| Some(word.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical());
    let peer = address(words.next()?)?;
    let port = words.next()?.parse().ok()?;
    let server = address(words.next()?)?;
    let local = words.next()?.parse().ok()?;
    Some((peer, port, local, server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_read_and_only_ours_is_left_alone() {
        assert_eq!(
            parse("10.0.0.9 51000 10.0.0.1 2222"),
            Some(("10.0.0.9".parse().unwrap(), 51000, 2222, "10.0.0.1".parse().unwrap()))
        );
        assert_eq!(
            parse("fe80::1%eth0 1 fe80::2%eth0 22"),
            Some(("fe80::1".parse().unwrap(), 1, 22, "fe80::2".parse().unwrap()))
        );
        assert_eq!(parse("10.0.0.9 51000"), None);
        let both = ["ssh".to_owned(), "control".to_owned()];
        assert_eq!(exempt(&both, true, &[7443]).len(), 2);
        assert!(exempt(&both, false, &[7443]).is_empty());
        assert!(exempt(&["nothing".to_owned()], true, &[7443]).is_empty());
    }
}
