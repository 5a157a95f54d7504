//! The door's book: proxies and toxics as clients know them, kept in step with the agent's targets and faults.
//!
//! What the agent holds is what counts. Before each call the book is compared with it: toxics whose fault is gone are
//! gone, targets and faults that others made are there, as far as a client could have made them. The book alone knows
//! names and order of toxics, words as they were sent, and proxies that are stopped, which for the agent do not exist.

use super::address::{self, Listen};
use super::body::{self, ProxyBody};
use super::json::quote;
use super::page::{Pages, Proxy, Toxic};
use super::refused::Refused;
use super::{Ground, Options};
use crate::caller::Caller;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// The book of one door.
pub(super) struct Book {
    pub agent: Arc<dyn Ground>,
    pub(super) options: Options,
    pub(super) pages: Mutex<Pages>,
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
}
