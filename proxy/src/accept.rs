//! From a client's knock to bytes that pass: who it is, which service it gets, whether it may enter, and the dial.

use crate::admission::{admit, attend};
use crate::chain::{Dir, How};
use crate::conn::{Open, Phase};
use crate::dial::Dial;
use crate::front::Resident;
use crate::http;
use crate::listen::Listener;
use crate::net::Stream;
use crate::proxyproto;
use crate::relay::{Ended, relay};
use crate::route::{Chosen, Route};
use crate::target::Target;
use crate::tls::greet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long to wait when the machine has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);
/// How long a client has for the header that says who it is.
const HEADER: Duration = Duration::from_secs(5);

/// Accepts on one port, for ever. Never waits for what becomes of a connection.
/// `inside` is who dials when the service is in another network namespace.
pub(crate) async fn accept(
    listener: Arc<Listener>,
    port: usize,
    inside: Option<Arc<Resident>>,
    target: Arc<Target>,
) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                socket.no_delay();
                let originals = matches!(target.route(), Route::Original(_));
                let destination = originals.then(|| socket.destination(listener.address()));
                let goes = Goes { port, destination, inside: inside.clone() };
                if target.spec.proxy_protocol.inbound {
                    tokio::spawn(identify(target.clone(), socket, peer, goes));
                } else {
                    let open = target.welcome(peer, goes.choose(&target, peer));
                    let addresses = Addresses { client: peer, ours: None };
                    tokio::spawn(serve(target.clone(), open, socket, addresses));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(OUT_OF_DESCRIPTORS).await,
        }
    }
}

/// What is known of where a connection goes.
struct Goes {
    port: usize,
    /// Where it was going, when that decides.
    destination: Option<Option<SocketAddr>>,
    inside: Option<Arc<Resident>>,
}

impl Goes {
    fn choose(&self, target: &Target, client: Option<SocketAddr>) -> Option<Chosen> {
        match target.route() {
            Route::Original(services) => services.at(self.destination.flatten(), self.inside.as_ref()),
            _ => target.choose(self.port, client),
        }
    }
}

/// What a header for the service says.
struct Addresses {
    client: Option<SocketAddr>,
    ours: Option<SocketAddr>,
}

/// Reads who the client is before it is numbered: faults may be for some clients only.
async fn identify(target: Arc<Target>, mut socket: Stream, peer: Option<SocketAddr>, goes: Goes) {
    match tokio::time::timeout(HEADER, proxyproto::read(&mut socket)).await {
        Ok(Ok(said)) => {
            let client = said.or(peer);
            let open = target.welcome(client, goes.choose(&target, client));
            serve(target, open, socket, Addresses { client, ours: None }).await;
        }
        Ok(Err(_)) | Err(_) => {
            target.turned_away();
            socket.end(How::Rst);
        }
    }
}

/// Layer 4 dials and copies. What comes before is boxed: an open connection does not keep the room that it needed.
async fn serve(target: Arc<Target>, open: Open, mut socket: Stream, mut addresses: Addresses) {
    if target.spec.proxy_protocol.outbound.is_some() {
        addresses.ours = socket.local_address();
    }
    if let Some(tls) = target.tls() {
        match Box::pin(greet(&target, tls, &open, socket)).await {
            Some(greeted) => socket = greeted,
            None => return target.ended_with(&open, true),
        }
    }
    let pool = open.chosen().and_then(|member| member.pool.clone());
    if let Some(mut pool) = pool {
        if target.spec.keep_source {
            pool = pool.of_client(addresses.client);
        }
        return Box::pin(http::serve(target, open, socket, pool)).await;
    }
    let dialled = Box::pin(enter(&target, &open, &addresses)).await;
    let failed = match dialled {
        Ok(Ok(service)) => {
            open.enter(Phase::Open);
            let ended = relay(&open, socket, service, target.timers()).await;
            matches!(ended, Ended::Killed | Ended::Reset { by: Dir::Down })
        }
        Ok(Err(_)) => {
            // What a client sees of a service that is not there.
            socket.end(How::Rst);
            true
        }
        Err(how) => {
            socket.end(how);
            true
        }
    };
    target.ended_with(&open, failed);
}

/// To the service, as soon as the faults allow it; or how the connection must end.
async fn enter(target: &Target, open: &Open, addresses: &Addresses) -> Result<io::Result<Stream>, How> {
    admit(open, target.timers()).await?;
    attend(open, target.timers(), dial(target, open, addresses)).await
}

async fn dial(target: &Target, open: &Open, addresses: &Addresses) -> io::Result<Stream> {
    let Some(member) = open.chosen() else {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the connection was not redirected to us",
        ));
    };
    let mut how = Dial::new(&target.spec);
    if target.spec.keep_source {
        how = how.from(addresses.client);
    }
    let mut service = member.address.dial(how).await?;
    if let Some(version) = target.spec.proxy_protocol.outbound {
        service.write_all(&proxyproto::write(version, addresses.client, addresses.ours)).await?;
    }
    Ok(service)
}
