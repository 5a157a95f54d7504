//! Everything that injects, ready to be registered with an engine.

use fusefs::FsInjector;
use inject::Injector;
use nodeops::NetworkInjector;
use nodeops::containers::Finder;
use proxy::ProxyInjector;
use std::sync::Arc;

/// All of it.
pub fn all() -> Vec<Arc<dyn Injector>> {
    with(proxies(), files(), Arc::new(NetworkInjector::new()))
}

/// That for proxies.
pub fn proxies() -> Arc<ProxyInjector> {
    Arc::new(ProxyInjector::new().with_containers(Arc::new(Finder)))
}

/// That for files.
pub fn files() -> Arc<FsInjector> {
    Arc::new(FsInjector::new().with_containers(Arc::new(Finder)))
}

/// All of it, with those for proxies and files, whose connections and operations someone wants to see, and with that for
/// networks, which leaves murphy's own control connections alone.
pub fn with(
    proxies: Arc<ProxyInjector>,
    files: Arc<FsInjector>,
    network: Arc<NetworkInjector>,
) -> Vec<Arc<dyn Injector>> {
    let mut all: Vec<Arc<dyn Injector>> = vec![proxies, files];
    all.extend(nodeops::injectors());
    // After those that open the same kinds of targets.
    all.push(network);
    all
}
