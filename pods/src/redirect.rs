//! The rules that lead a pod's traffic through the proxy, for as long as the proxy says that it lives.
//!
//! Whoever installs them needs CAP_NET_ADMIN and may end: the rules stay with the pod's network. They lead nowhere while the
//! set `alive` is empty; a datagram of the proxy's user to a port of loopback puts an element into it, which ends by itself
//! ([`crate::beat`]). So a proxy that is gone, however that came about, is no longer in the way shortly after.
//!
//! ```text
//! table inet murphy_sidecar {
//!   set alive { type nf_proto; flags dynamic,timeout; timeout 1500ms; }
//!   chain beat { type filter hook output priority filter;
//!     meta skuid 2102 oifname "lo" meta l4proto udp udp dport 15099 update @alive { meta nfproto timeout 1500ms } drop }
//!   chain in { type nat hook prerouting priority dstnat;
//!     iifname "lo" return                                      the pod with itself, and the proxy with the application
//!     tcp flags syn tcp dport 15300 redirect to :8080          probes, which nothing is done to
//!     meta nfproto @alive tcp flags syn tcp dport 8080 redirect to :15100 }
//!   chain out { type nat hook output priority dstnat;
//!     meta skuid 2102 return                                   the proxy's own
//!     oifname "lo" return
//!     meta nfproto @alive tcp flags syn tcp dport 5432 redirect to :15190 }
//! }
//! ```
//!
//! Only the first packet of a connection is redirected, so that connections that are open when the rules come stay as they
//! are, also where the kernel tracked none before.

use crate::ways::{BEAT, Ways};
use host::netlink::NetlinkError;
use host::netlink::nft::{Batch, Compare, Family, Header, Hook, Meta, Nft, Rule, Verdict};

/// The table's name.
pub const TABLE: &str = "murphy_sidecar";
/// How long a heartbeat lasts: two may be late before traffic goes direct, which it does within two seconds.
pub const LASTS_MS: u64 = 1500;

const SET: &str = "alive";
const FAMILY: Family = Family::Inet;
const DSTNAT: i32 = -100;

/// What is redirected, and around whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The ports.
    pub ways: Ways,
    /// The user that the proxy runs as.
    pub user: u32,
    /// Ports that lead to others without passing the proxy: for probes.
    pub probes: Vec<(u16, u16)>,
}

/// Why the rules could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The kernel let us not.
    #[error(
        "the redirect cannot be installed: {0}; it needs CAP_NET_ADMIN in the pod's network (as the init container has it), or use mode: explicit"
    )]
    NotAllowed(NetlinkError),
    /// The pod has such rules already.
    #[error(
        "the redirect cannot be installed: this pod has murphy's already; use its sidecar, or take its rules away with `murphy sidecar init --remove`"
    )]
    Occupied,
    /// The kernel cannot.
    #[error(
        "the redirect cannot be installed: {0}; the kernel needs nf_tables with nat and redirect (nft_redir, nft_chain_nat), or use mode: explicit"
    )]
    Kernel(NetlinkError),
}

impl From<NetlinkError> for RedirectError {
    fn from(e: NetlinkError) -> RedirectError {
        match e.is(libc::EPERM) || e.is(libc::EACCES) {
            true => RedirectError::NotAllowed(e),
            false => RedirectError::Kernel(e),
        }
    }
}

impl Redirect {
    /// Installs the rules in the network of this thread, in place of those that are there, in one step.
    pub fn install(&self) -> Result<(), RedirectError> {
        let mut nft = Nft::open()?;
        let mut batch = Batch::new();
        if nft.has_table(FAMILY, TABLE)? {
            batch.remove_table(FAMILY, TABLE);
        }
        batch.lasting_table(FAMILY, TABLE);
        self.write(&mut batch);
        Ok(nft.commit(&batch)?)
    }

    /// Installs the rules as what is given back owns them: when that is gone, however that came about, so are they.
    pub fn install_owned(&self) -> Result<Nft, RedirectError> {
        let mut nft = Nft::open()?;
        if nft.has_table(FAMILY, TABLE)? {
            return Err(RedirectError::Occupied);
        }
        let mut batch = Batch::new();
        batch.table(FAMILY, TABLE);
        self.write(&mut batch);
        nft.commit(&batch)?;
        Ok(nft)
    }

    fn write(&self, batch: &mut Batch) {
        batch.set_of_families(FAMILY, TABLE, SET, LASTS_MS);
        batch.base_chain(FAMILY, TABLE, "beat", "filter", &Hook::Output, 0);
        let beat = self
            .of_the_proxy()
            .loopback(Meta::OutName, Compare::Eq)
            .meta(Meta::Transport, Compare::Eq, &[17])
            .bytes(Header::Transport, 2, Compare::Eq, &BEAT.to_be_bytes())
            .refresh(Meta::Family, SET, LASTS_MS)
            .comment("the proxy lives")
            .verdict(Verdict::Drop);
        batch.rule(FAMILY, TABLE, "beat", &beat);

        batch.base_chain(FAMILY, TABLE, "in", "nat", &Hook::Prerouting, DSTNAT);
        batch.rule(
            FAMILY,
            TABLE,
            "in",
            &Rule::new().loopback(Meta::InName, Compare::Eq).verdict(Verdict::Return),
        );
        for (from, to) in &self.probes {
            batch.rule(FAMILY, TABLE, "in", &to_port(Rule::new(), *from).comment("probes").redirect(*to));
        }
        for proxied in self.ways.proxied_in() {
            let rule = to_port(alive(), proxied.way.port).comment(&proxied.name).redirect(proxied.listen);
            batch.rule(FAMILY, TABLE, "in", &rule);
        }

        batch.base_chain(FAMILY, TABLE, "out", "nat", &Hook::Output, DSTNAT);
        batch.rule(FAMILY, TABLE, "out", &self.of_the_proxy().verdict(Verdict::Return));
        batch.rule(
            FAMILY,
            TABLE,
            "out",
            &Rule::new().loopback(Meta::OutName, Compare::Eq).verdict(Verdict::Return),
        );
        for proxied in self.ways.proxied_out() {
            let rule = to_port(alive(), proxied.way.port).comment(&proxied.name).redirect(proxied.listen);
            batch.rule(FAMILY, TABLE, "out", &rule);
        }
    }

    fn of_the_proxy(&self) -> Rule {
        Rule::new().meta(Meta::Owner, Compare::Eq, &self.user.to_ne_bytes())
    }
}

/// Takes the rules away; whether there were any.
pub fn remove() -> Result<bool, RedirectError> {
    let mut nft = Nft::open()?;
    if !nft.has_table(FAMILY, TABLE)? {
        return Ok(false);
    }
    let mut batch = Batch::new();
    batch.remove_table(FAMILY, TABLE);
    nft.commit(&batch)?;
    Ok(true)
}

fn alive() -> Rule {
    Rule::new().meta_in(Meta::Family, SET)
}

fn to_port(rule: Rule, port: u16) -> Rule {
    rule.opens_tcp().bytes(Header::Transport, 2, Compare::Eq, &port.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ways::read_list;

    #[test]
    fn installed_again_in_one_step_and_removed() {
        let ways =
            Ways::new(read_list("web=8080/http,9000").unwrap(), read_list("db=5432").unwrap()).unwrap();
        let redirect = Redirect { ways, user: 2102, probes: vec![(15300, 8080)] };
        let done = host::netns::in_a_new_one(|| {
            redirect.install()?;
            redirect.install()?;
            let (first, second) = (remove()?, remove()?);
            let owned = redirect.install_owned()?;
            let occupied = redirect.install_owned().is_err();
            drop(owned);
            Ok::<_, RedirectError>((first, second, occupied, remove()?))
        });
        match done {
            Ok(done) => assert_eq!(done.unwrap(), (true, false, true, false)),
            // Without root there is no namespace to try it in.
            Err(_) => eprintln!("skipped: needs root"),
        }
    }
}
