//! Connections that leave HTTP (WebSocket, CONNECT): bytes both ways from then on. Faults on connections go on acting
//! below, for the client's side is still the same stream.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Joins the two sides once both have changed over.
pub(super) fn join(client: OnUpgrade, service: OnUpgrade) {
    tokio::spawn(async move {
        if let (Ok(client), Ok(service)) = tokio::join!(client, service) {
            let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
            // Its end, whichever way, is the end of the tunnel; there is nobody left to tell.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut service).await;
        }
    });
}
