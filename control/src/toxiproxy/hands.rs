//! What the book does to the agent: opening and closing targets, arming and disarming faults, looking what is there.

use super::address::Listen;
use super::book::Book;
use super::page::{Armed, Pages, Proxy, Toxic, services};
use super::refused::Refused;
use super::toxic;
use crate::caller::Caller;
use crate::wire::Code;
use model::sample::TargetState;
use model::target::Protocol;
use model::{Fault, TargetKind, TargetRef, TargetSpec, draw};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::Instant;

impl Book {
    /// Arms anew what comes near the end that the model sets to every fault. Toxics that are to end, end.
    pub async fn keep(&self, by: &Caller) {
        if self.options.max_for.is_some() {
            return;
        }
        let Ok(mut pages) = self.pages().await else { return };
        for (name, proxy) in &mut pages.proxies {
            for toxic in proxy.toxics.iter_mut().filter(|t| t.mine) {
                let age = toxic.fault.as_ref().map(|armed| armed.since.elapsed()).unwrap_or_default();
                if age > self.options.stretch.0 * 3 / 4 {
                    // When it cannot be, the agent's word stands: the next comparison strikes it out.
                    if self.disarm(toxic, by).await.is_ok() {
                        let _ = self.arm(name, toxic, by).await;
                    }
                }
            }
        }
    }

    /// Everything was halted: toxics of which the agent knows nothing, because their proxies are stopped, go too.
    pub async fn halted(&self) {
        let mut pages = self.pages.lock().await;
        // Those that it knows of may have come after the halt was lifted.
        pages.proxies.values_mut().for_each(|proxy| proxy.toxics.retain(|toxic| toxic.fault.is_some()));
    }

    /// Opens a proxy's target and arms its toxics; all or nothing.
    pub(super) async fn start(
        &self,
        name: &str,
        proxy: &mut Proxy,
        resolved: Result<Listen, String>,
        by: &Caller,
    ) -> Result<(), Refused> {
        let listen = resolved.map_err(|why| Refused::failed(format!("listen tcp: {why}")))?;
        let listen = listen.probe().map_err(Refused::failed)?.to_string();
        let target = proxy.target_at(name, &listen);
        let opened = self.agent.open_target(target.clone(), by.clone()).await?;
        proxy.listen = opened.listen.unwrap_or(listen);
        proxy.enabled = true;
        proxy.target = Some(target);
        for i in 0..proxy.toxics.len() {
            if let Err(refused) = self.arm(name, &mut proxy.toxics[i], by).await {
                self.stop(name, proxy, by).await?;
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Closes a proxy's target; its own toxics stay in the book.
    pub(super) async fn stop(&self, name: &str, proxy: &mut Proxy, by: &Caller) -> Result<(), Refused> {
        if !proxy.enabled {
            return Ok(());
        }
        let target = TargetRef::new(TargetKind::Proxy, name);
        let total = self.agent.totals().remove(&target).unwrap_or_default();
        match self.agent.shut(target, by.clone()).await {
            Err(failure) if failure.code != Code::NotFound => return Err(failure.into()),
            _ => {}
        }
        proxy.earlier.0 += total.bytes_up;
        proxy.earlier.1 += total.bytes_down;
        proxy.rest();
        Ok(())
    }

    pub(super) async fn arm(&self, proxy: &str, toxic: &mut Toxic, by: &Caller) -> Result<(), Refused> {
        toxic.fault = None;
        let Some(inject) = toxic.kind.injection(&toxic.values, toxic.up).map_err(Refused::failed)? else {
            return Ok(());
        };
        let share = toxic::share(toxic.toxicity);
        let stem = id(&toxic.name);
        for attempt in 0..100 {
            let fault = Fault {
                id: Some(if attempt == 0 { stem.clone() } else { format!("{stem}~{attempt}") }),
                target: TargetRef::new(TargetKind::Proxy, proxy),
                inject: inject.clone(),
                lasts: Some(self.options.max_for.unwrap_or(self.options.stretch)),
                share,
                per: None,
                when: None,
                ramp: None,
                seed: Some(toxic.seed),
            };
            match self.agent.arm(fault, None, by.clone()).await {
                Ok(armed) => {
                    toxic.fault = Some(Armed { id: armed.id, inject, share, since: Instant::now() });
                    return Ok(());
                }
                // The id is taken, by a toxic of that name on another proxy or by someone else.
                Err(failure) if failure.code == Code::Conflict => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Refused::failed(format!("no name is free for the fault of toxic {:?}", toxic.name)))
    }

    pub(super) async fn change(
        &self,
        toxic: &mut Toxic,
        values: Vec<i64>,
        toxicity: f32,
        by: &Caller,
    ) -> Result<(), Refused> {
        let inject = toxic.kind.injection(&values, toxic.up).map_err(Refused::failed)?;
        if let (Some(armed), Some(inject)) = (&mut toxic.fault, inject) {
            let share = toxic::share(toxicity);
            let changed = self.agent.change(armed.id.clone(), inject.clone(), share, by.clone()).await;
            changed.map_err(|failure| match failure.code {
                // It ended meanwhile, or is just ending.
                Code::NotFound | Code::Conflict => Refused::no_toxic(),
                _ => failure.into(),
            })?;
            (armed.inject, armed.share) = (inject, share);
        }
        (toxic.values, toxic.toxicity) = (values, toxicity);
        Ok(())
    }

    pub(super) async fn disarm(&self, toxic: &Toxic, by: &Caller) -> Result<(), Refused> {
        let Some(armed) = &toxic.fault else { return Ok(()) };
        match self.agent.disarm(armed.id.clone(), by.clone()).await {
            Err(failure) if failure.code != Code::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn seed(&self, made: &mut u64) -> u64 {
        *made += 1;
        draw::bits(self.options.seed, draw::Lane::Other(0), *made)
    }

    /// Brings the book in step with the agent.
    pub(super) async fn compare(&self, pages: &mut Pages) -> Result<(), Refused> {
        let mut open: BTreeMap<String, TargetState> = self
            .agent
            .targets()
            .await?
            .into_iter()
            .filter(|t| t.target.kind == TargetKind::Proxy)
            .map(|t| (t.target.name.clone(), t))
            .collect();
        pages.proxies.retain(|name, proxy| {
            if proxy.enabled && !open.contains_key(name) {
                proxy.toxics.clear();
                proxy.rest();
                return proxy.mine;
            }
            true
        });
        let faults = self.agent.faults().await?;
        let names: Vec<String> = open.keys().cloned().collect();
        for name in names {
            let reference = TargetRef::new(TargetKind::Proxy, name.clone());
            let (Some(state), Some(target)) = (open.remove(&name), self.agent.spec(&reference)) else {
                continue;
            };
            let TargetSpec::Proxy(spec) = &target.spec else { continue };
            // Datagrams, ranges of ports and unix sockets are nothing that this API has words for.
            let listen =
                state.listen.filter(|l| spec.protocol != Protocol::Udp && l.parse::<SocketAddr>().is_ok());
            let Some(listen) = listen else { continue };
            let proxy = match pages.proxies.entry(name.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let proxy = Proxy::new(listen.clone(), services(spec));
                    entry.insert(Proxy { mine: false, ..proxy })
                }
            };
            if proxy.target.as_ref() != Some(&target) || !proxy.enabled {
                // Opened elsewhere, or otherwise than it was.
                proxy.listen = listen;
                proxy.upstream = services(spec);
                proxy.target = Some(target);
                proxy.enabled = true;
            }
            let here: Vec<&Fault> =
                faults.iter().filter(|f| f.fault.target == reference).map(|f| &f.fault).collect();
            proxy.compare(&here);
        }
        Ok(())
    }
}

/// A toxic's name as the name of a fault, which takes no spaces and is not as long.
fn id(name: &str) -> String {
    let plain = |c: char| if c.is_whitespace() || c.is_control() || c == '/' { '-' } else { c };
    let mut out = String::new();
    for c in name.chars().map(plain) {
        if out.len() + c.len_utf8() > 56 {
            break;
        }
        out.push(c);
    }
    out
}
