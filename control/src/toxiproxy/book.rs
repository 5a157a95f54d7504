//! The door's book: proxies and toxics as clients know them, kept in step with the agent's targets and faults.
//!
//! What the agent holds is what counts. Before each call the book is compared with it: toxics whose fault is gone are
//! gone, targets and faults that others made are there, as far as a client could have made them. The book alone knows
//! names and order of toxics, words as they were sent, and proxies that are stopped, which for the agent do not exist.

use super::address::{self, Listen};
use super::body::{self, ProxyBody, ToxicBody};
use super::json::quote;
use super::refused::Refused;
use super::toxic::{self, Kind};
use super::{Ground, Options};
use crate::service::Caller;
use crate::wire::Code;
use model::sample::TargetState;
use model::target::{Protocol, ProxySpec};
use model::{Fault, Injection, Share, Target, TargetKind, TargetRef, TargetSpec, draw};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, MutexGuard};

/// The book of one door.
pub(super) struct Book {
    pub agent: Arc<dyn Ground>,
    options: Options,
    pages: Mutex<Pages>,
}

#[derive(Default)]
pub(super) struct Pages {
    pub proxies: BTreeMap<String, Proxy>,
    /// How many toxics were made so far: each has a seed of its own.
    made: u64,
}

/// A proxy.
pub(super) struct Proxy {
    /// The address it really has once it was started; before, as it was sent.
    pub listen: String,
    /// As it was sent.
    pub upstream: String,
    pub enabled: bool,
    /// Made through this door: it stays in the book when its target is closed elsewhere.
    mine: bool,
    /// The target as it was opened last.
    target: Option<Target>,
    toxics: Vec<Toxic>,
    /// Bytes up and down of the times before it was stopped.
    pub earlier: (u64, u64),
}

struct Toxic {
    name: String,
    kind: &'static Kind,
    stream: String,
    up: bool,
    toxicity: f32,
    values: Vec<i64>,
    seed: u64,
    /// Made through this door: it has no end of its own, and comes back with its proxy.
    mine: bool,
    /// The fault that it is; none while its proxy is stopped, or when it does nothing.
    fault: Option<Armed>,
}

struct Armed {
    id: String,
    inject: Injection,
    share: Share,
    since: Instant,
}

impl Book {
    pub fn new(agent: Arc<dyn Ground>, options: Options) -> Book {
        Book { agent, options, pages: Mutex::default() }
    }

    /// The book, in step with the agent.
    pub async fn pages(&self) -> Result<MutexGuard<'_, Pages>, Refused> {
        let mut pages = self.pages.lock().await;
        self.compare(&mut pages).await?;
        Ok(pages)
    }

    /// `GET /proxies`
    pub async fn index(&self) -> Result<String, Refused> {
        let pages = self.pages().await?;
        let all: Vec<String> =
            pages.proxies.iter().map(|(name, p)| format!("{}:{}", quote(name), p.show(name))).collect();
        Ok(format!("{{{}}}", all.join(",")))
    }

    /// `GET /proxies/{proxy}`
    pub async fn show(&self, name: &str) -> Result<String, Refused> {
        let pages = self.pages().await?;
        pages.proxies.get(name).map(|proxy| proxy.show(name)).ok_or_else(Refused::no_proxy)
    }

    /// `POST /proxies`
    pub async fn create(&self, bytes: &[u8], by: &Caller) -> Result<String, Refused> {
        let body = body::proxy(bytes)?;
        if body.name.is_empty() {
            return Err(Refused::missing("name"));
        }
        let Some(upstream) = body.upstream.filter(|u| !u.is_empty()) else {
            return Err(Refused::missing("upstream"));
        };
        let listen = body.listen.unwrap_or_default();
        let resolved = address::resolve(&listen).await;
        let mut pages = self.pages().await?;
        if pages.proxies.contains_key(&body.name) {
            return Err(Refused::proxy_exists());
        }
        let mut proxy = Proxy::new(listen, upstream);
        if body.enabled.unwrap_or(true) {
            self.start(&body.name, &mut proxy, resolved, by).await?;
        }
        let shown = proxy.show(&body.name);
        pages.proxies.insert(body.name, proxy);
        Ok(shown)
    }

    /// `PATCH /proxies/{proxy}`
    pub async fn update(&self, name: &str, bytes: &[u8], by: &Caller) -> Result<String, Refused> {
        let (listen, body) = {
            let pages = self.pages().await?;
            let proxy = pages.proxies.get(name).ok_or_else(Refused::no_proxy)?;
            let body = body::proxy(bytes)?;
            (body.listen.clone().unwrap_or_else(|| proxy.listen.clone()), body)
        };
        // Names are looked up while nobody waits for the book.
        let resolved = address::resolve(&listen).await;
        let mut pages = self.pages().await?;
        let proxy = pages.proxies.get_mut(name).ok_or_else(Refused::no_proxy)?;
        let enabled = body.enabled.unwrap_or(proxy.enabled);
        let upstream = body.upstream.unwrap_or_else(|| proxy.upstream.clone());
        let here = resolved.clone().map_err(Refused::failed)?.address.to_string();
        if here != proxy.listen || upstream != proxy.upstream {
            self.stop(name, proxy, by).await?;
            (proxy.listen, proxy.upstream) = (listen, upstream);
        }
        if enabled && !proxy.enabled {
            self.start(name, proxy, resolved, by).await?;
        } else if !enabled {
            self.stop(name, proxy, by).await?;
        }
        Ok(proxy.show(name))
    }

    /// `DELETE /proxies/{proxy}`
    pub async fn delete(&self, name: &str, by: &Caller) -> Result<(), Refused> {
        let mut pages = self.pages().await?;
        let proxy = pages.proxies.get_mut(name).ok_or_else(Refused::no_proxy)?;
        self.stop(name, proxy, by).await?;
        pages.proxies.remove(name);
        Ok(())
    }

    /// `POST /reset`
    pub async fn reset(&self, by: &Caller) -> Result<(), Refused> {
        let mut pages = self.pages().await?;
        for (name, proxy) in &mut pages.proxies {
            if !proxy.enabled {
                let resolved = address::resolve(&proxy.listen).await;
                // Its toxics go at once, so they need not come back first.
                let toxics = std::mem::take(&mut proxy.toxics);
                if let Err(refused) = self.start(name, proxy, resolved, by).await {
                    proxy.toxics = toxics;
                    return Err(refused);
                }
            }
            while let Some(toxic) = proxy.toxics.pop() {
                self.disarm(&toxic, by).await?;
            }
        }
        Ok(())
    }

    /// `POST /populate`: what was done, in a list, and what stopped it.
    pub async fn populate(&self, bytes: &[u8], by: &Caller) -> (Vec<String>, Option<Refused>) {
        let mut done = Vec::new();
        let refused = self.populate_into(&mut done, bytes, by).await.err();
        (done, refused)
    }

    async fn populate_into(&self, done: &mut Vec<String>, bytes: &[u8], by: &Caller) -> Result<(), Refused> {
        let bodies = body::proxies(bytes)?;
        let mut wanted = Vec::new();
        for (i, body) in bodies.iter().enumerate() {
            if body.name.is_empty() {
                return Err(Refused::missing(format!("name at proxy {}", i + 1)));
            }
            if body.upstream.as_ref().is_none_or(String::is_empty) {
                return Err(Refused::missing(format!("upstream at proxy {}", i + 1)));
            }
        }
        for (i, body) in bodies.into_iter().enumerate() {
            let mut toxics: Vec<Toxic> = Vec::new();
            for json in &body.toxics {
                let toxic = body::read_toxic(json)
                    .map_err(Refused::body)
                    .and_then(Toxic::read)
                    .map_err(|refused| refused.at(i))?;
                if toxics.iter().any(|other| other.name == toxic.name) {
                    return Err(Refused::toxic_exists().at(i));
                }
                toxics.push(toxic);
            }
            let resolved = address::resolve(body.listen.as_deref().unwrap_or_default()).await;
            wanted.push((body, toxics, resolved));
        }
        let mut pages = self.pages().await?;
        for (body, toxics, resolved) in wanted {
            done.push(self.put(&mut pages, body, toxics, resolved, by).await?);
        }
        Ok(())
    }

    async fn put(
        &self,
        pages: &mut Pages,
        body: ProxyBody,
        toxics: Vec<Toxic>,
        resolved: Result<Listen, String>,
        by: &Caller,
    ) -> Result<String, Refused> {
        let ProxyBody { name, listen, upstream, enabled, .. } = body;
        let (listen, upstream) = (listen.unwrap_or_default(), upstream.unwrap_or_default());
        let Pages { proxies, made } = pages;
        if let Some(proxy) = proxies.get_mut(&name) {
            let here = resolved.clone().map_err(Refused::failed)?.address.to_string();
            if here == proxy.listen && upstream == proxy.upstream {
                for toxic in toxics {
                    self.place(&name, proxy, toxic, made, by).await?;
                }
                return Ok(proxy.show(&name));
            }
            self.stop(&name, proxy, by).await?;
            proxies.remove(&name);
        }
        let mut proxy = Proxy::new(listen, upstream);
        for mut toxic in toxics {
            toxic.seed = self.seed(made);
            proxy.toxics.push(toxic);
        }
        if enabled.unwrap_or(true) {
            self.start(&name, &mut proxy, resolved, by).await?;
        }
        let shown = proxy.show(&name);
        proxies.insert(name, proxy);
        Ok(shown)
    }

    /// Makes a toxic be there as it is described, on a proxy that has toxics already.
    async fn place(
        &self,
        name: &str,
        proxy: &mut Proxy,
        mut wanted: Toxic,
        made: &mut u64,
        by: &Caller,
    ) -> Result<(), Refused> {
        if let Some(at) = proxy.toxics.iter().position(|t| t.name == wanted.name) {
            let toxic = &mut proxy.toxics[at];
            if toxic.kind.name == wanted.kind.name && toxic.up == wanted.up {
                return self.change(toxic, wanted.values, wanted.toxicity, by).await;
            }
            let toxic = proxy.toxics.remove(at);
            self.disarm(&toxic, by).await?;
        }
        wanted.seed = self.seed(made);
        if proxy.enabled {
            self.arm(name, &mut wanted, by).await?;
        }
        proxy.toxics.push(wanted);
        Ok(())
    }

    /// `GET /proxies/{proxy}/toxics`
    pub async fn toxics(&self, name: &str) -> Result<String, Refused> {
        let pages = self.pages().await?;
        pages.proxies.get(name).map(Proxy::show_toxics).ok_or_else(Refused::no_proxy)
    }

    /// `GET /proxies/{proxy}/toxics/{toxic}`
    pub async fn toxic(&self, name: &str, toxic: &str) -> Result<String, Refused> {
        let pages = self.pages().await?;
        let proxy = pages.proxies.get(name).ok_or_else(Refused::no_proxy)?;
        proxy.toxics.iter().find(|t| t.name == toxic).map(Toxic::show).ok_or_else(Refused::no_toxic)
    }

    /// `POST /proxies/{proxy}/toxics`
    pub async fn add(&self, name: &str, bytes: &[u8], by: &Caller) -> Result<String, Refused> {
        let mut pages = self.pages().await?;
        let Pages { proxies, made } = &mut *pages;
        let proxy = proxies.get_mut(name).ok_or_else(Refused::no_proxy)?;
        let body = body::toxic(bytes)?;
        let (kind, up, named) = Toxic::check(&body)?;
        if proxy.toxics.iter().any(|t| t.name == named) {
            return Err(Refused::toxic_exists());
        }
        let mut toxic = Toxic::make(body, kind, up, named)?;
        toxic.seed = self.seed(made);
        if proxy.enabled {
            self.arm(name, &mut toxic, by).await?;
        }
        let shown = toxic.show();
        proxy.toxics.push(toxic);
        Ok(shown)
    }

    /// `PATCH /proxies/{proxy}/toxics/{toxic}`
    pub async fn edit(&self, name: &str, toxic: &str, bytes: &[u8], by: &Caller) -> Result<String, Refused> {
        let mut pages = self.pages().await?;
        let proxy = pages.proxies.get_mut(name).ok_or_else(Refused::no_proxy)?;
        let toxic = proxy.toxics.iter_mut().find(|t| t.name == toxic).ok_or_else(Refused::no_toxic)?;
        let (mut values, mut toxicity) = (toxic.values.clone(), toxic.toxicity);
        body::change(bytes, toxic.kind, &mut values, &mut toxicity)?;
        self.change(toxic, values, toxicity, by).await?;
        Ok(toxic.show())
    }

    /// `DELETE /proxies/{proxy}/toxics/{toxic}`
    pub async fn remove(&self, name: &str, toxic: &str, by: &Caller) -> Result<(), Refused> {
        let mut pages = self.pages().await?;
        let proxy = pages.proxies.get_mut(name).ok_or_else(Refused::no_proxy)?;
        let at = proxy.toxics.iter().position(|t| t.name == toxic).ok_or_else(Refused::no_toxic)?;
        let toxic = proxy.toxics.remove(at);
        self.disarm(&toxic, by).await
    }

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
    async fn start(
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
    async fn stop(&self, name: &str, proxy: &mut Proxy, by: &Caller) -> Result<(), Refused> {
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

    async fn arm(&self, proxy: &str, toxic: &mut Toxic, by: &Caller) -> Result<(), Refused> {
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

    async fn change(
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

    async fn disarm(&self, toxic: &Toxic, by: &Caller) -> Result<(), Refused> {
        let Some(armed) = &toxic.fault else { return Ok(()) };
        match self.agent.disarm(armed.id.clone(), by.clone()).await {
            Err(failure) if failure.code != Code::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn seed(&self, made: &mut u64) -> u64 {
        *made += 1;
        draw::bits(self.options.seed, draw::Lane::Other(0), *made)
    }

    /// Brings the book in step with the agent.
    async fn compare(&self, pages: &mut Pages) -> Result<(), Refused> {
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

impl Proxy {
    fn new(listen: String, upstream: String) -> Proxy {
        Proxy {
            listen,
            upstream,
            enabled: false,
            mine: true,
            target: None,
            toxics: Vec::new(),
            earlier: (0, 0),
        }
    }

    /// The target that it is when it listens there; what else it was opened with before stays.
    fn target_at(&self, name: &str, listen: &str) -> Target {
        let mut spec = match &self.target {
            Some(Target { spec: TargetSpec::Proxy(before), .. }) => before.clone(),
            _ => ProxySpec::default(),
        };
        listen.clone_into(&mut spec.listen);
        if services(&spec) != self.upstream || self.upstream.is_empty() {
            spec.upstreams.clear();
            spec.upstream = address::dialable(&self.upstream);
        }
        Target { name: name.to_owned(), spec: TargetSpec::Proxy(spec) }
    }

    /// It is stopped: its own toxics wait, those of others have ended.
    fn rest(&mut self) {
        self.enabled = false;
        self.toxics.retain(|t| t.mine);
        self.toxics.iter_mut().for_each(|t| t.fault = None);
    }

    /// Compares its toxics with the faults that are armed on it.
    fn compare(&mut self, faults: &[&Fault]) {
        let find = |id: &str| faults.iter().find(|f| f.id.as_deref() == Some(id));
        self.toxics.retain_mut(|toxic| {
            let Some(armed) = &mut toxic.fault else { return toxic.kind.name == "noop" };
            let Some(fault) = find(&armed.id) else { return false };
            if fault.inject != armed.inject || fault.share != armed.share {
                // Changed elsewhere. What a toxic cannot say stays unsaid.
                (armed.inject, armed.share) = (fault.inject.clone(), fault.share);
                if let Some((kind, values, _)) = toxic::read(&fault.inject)
                    && kind.name == toxic.kind.name
                {
                    toxic.values = values;
                }
                toxic.toxicity = toxic::toxicity(fault.share).unwrap_or(toxic.toxicity);
            }
            true
        });
        for fault in faults {
            let Some(id) = &fault.id else { continue };
            let known = |t: &Toxic| t.name == *id || t.fault.as_ref().is_some_and(|armed| armed.id == *id);
            if fault.when.is_some() || fault.ramp.is_some() || self.toxics.iter().any(known) {
                continue;
            }
            let Some((kind, values, up)) = toxic::read(&fault.inject) else { continue };
            let Some(toxicity) = toxic::toxicity(fault.share) else { continue };
            let armed = Armed {
                id: id.clone(),
                inject: fault.inject.clone(),
                share: fault.share,
                since: Instant::now(),
            };
            let stream = if up { "upstream" } else { "downstream" }.to_owned();
            let seed = fault.seed.unwrap_or_default();
            self.toxics.push(Toxic {
                name: id.clone(),
                kind,
                stream,
                up,
                toxicity,
                values,
                seed,
                mine: false,
                fault: Some(armed),
            });
        }
    }

    fn show(&self, name: &str) -> String {
        format!(
            r#"{{"name":{},"listen":{},"upstream":{},"enabled":{},"toxics":{}}}"#,
            quote(name),
            quote(&self.listen),
            quote(&self.upstream),
            self.enabled,
            self.show_toxics()
        )
    }

    /// Those that go up first, then those that go down, each in the order in which they were made.
    fn show_toxics(&self) -> String {
        let (up, down): (Vec<&Toxic>, Vec<&Toxic>) = self.toxics.iter().partition(|t| t.up);
        let all: Vec<String> = up.into_iter().chain(down).map(Toxic::show).collect();
        format!("[{}]", all.join(","))
    }
}

impl Toxic {
    /// What is wrong with a toxic before its attributes are looked at; else its kind, its direction, its name.
    fn check(body: &ToxicBody) -> Result<(&'static Kind, bool, String), Refused> {
        let up = toxic::goes_up(&body.stream).ok_or_else(Refused::stream)?;
        let kind = toxic::kind(&body.kind).ok_or_else(Refused::kind)?;
        let name =
            if body.name.is_empty() { format!("{}_{}", body.kind, body.stream) } else { body.name.clone() };
        Ok((kind, up, name))
    }

    fn make(body: ToxicBody, kind: &'static Kind, up: bool, name: String) -> Result<Toxic, Refused> {
        let mut values = vec![0; kind.attributes.len()];
        if let Some(json) = &body.attributes {
            body::attributes(json, kind, &mut values).map_err(Refused::body)?;
        }
        let ToxicBody { stream, toxicity, .. } = body;
        Ok(Toxic { name, kind, stream, up, toxicity, values, seed: 0, mine: true, fault: None })
    }

    fn read(body: ToxicBody) -> Result<Toxic, Refused> {
        let (kind, up, name) = Toxic::check(&body)?;
        Toxic::make(body, kind, up, name)
    }

    fn show(&self) -> String {
        toxic::show(&self.name, self.kind, &self.values, &self.stream, self.toxicity)
    }
}

/// Where a proxy leads.
fn services(spec: &ProxySpec) -> String {
    spec.services().join(",")
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
