//! HTTP/2 on the client's side: a task for the connection and one for each stream.

mod client;
pub(crate) mod flow;
pub(crate) mod heads;

pub(crate) use client::InStream;

use super::Context;
use super::exchange::exchange;
use super::h1::{Io, room};
use super::wire::Ending;
use crate::chain::How;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What may come on one stream before its receiver has taken any of it.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together: so much more that those which stand still leave room for others.
pub(crate) const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Small frames are no attack here: what clients and services send each other passes.
pub(crate) const BUDGET: usize = 1 << 30;
/// Requests at the same time on one connection.
const STREAMS: u32 = 1000;

/// Serves a client's connection of HTTP/2 until it ends. When this is dropped, its streams end, too.
pub(crate) async fn serve<T: Io + 'static>(context: Context, io: T) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_concurrent_reset_streams(1000)
        .max_pending_accept_reset_streams(STREAMS as usize)
        .max_header_list_size(64 * 1024)
        .data_frame_budget(BUDGET)
        .enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    let context = Arc::new(context);
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, responder))) => {
                    let (context, tell) = (context.clone(), tell.clone());
                    streams.spawn(async move {
                        if let Some(ending) = stream(&context, request, responder).await {
                            // The connection may have ended meanwhile.
                            let _ = tell.send(ending);
                        }
                    });
                }
                Some(Err(_)) | None => break,
            },
            Some(ending) = told.recv() => match ending {
                Ending::GoAway(0) => connection.graceful_shutdown(),
                Ending::GoAway(code) => connection.abrupt_shutdown(code.into()),
                Ending::Fin => context.conn.kill(How::Fin),
                Ending::Rst | Ending::Reset(_) => context.conn.kill(How::Rst),
            },
            Some(_) = streams.join_next() => {}
        }
    }
    // Streams whose connection has ended find out by themselves; that takes them a moment.
    while streams.join_next().await.is_some() {}
}

/// Serves one stream; what the whole connection is to do afterwards, if anything.
async fn stream(
    context: &Context,
    request: http::Request<h2::RecvStream>,
    mut responder: h2::server::SendResponse<Bytes>,
) -> Option<Ending> {
    if !heads::names_one_host(&request) {
        context.conn.metrics.refused();
        responder.send_reset(h2::Reason::PROTOCOL_ERROR);
        return None;
    }
    let mut all = room::heads();
    all.request = heads::read_request(&request);
    let mut stream = InStream::new(&all.request, request.into_body(), responder);
    exchange(context, &mut stream, &mut all).await;
    room::give_heads(all);
    stream.end().await;
    stream.ending
}
