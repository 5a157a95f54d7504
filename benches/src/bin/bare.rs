//! What a proxy of hyper and nothing else costs: a server, kept client connections, and bodies that pass. Two arguments:
//! where to listen, and where the service is.
#![forbid(unsafe_code)]

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};

type Idle = Arc<Mutex<Vec<SendRequest<Incoming>>>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<SocketAddr>());
    let (Some(Ok(listen)), Some(Ok(service))) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: bare LISTEN SERVICE"));
    };
    let listener = TcpListener::bind(listen).await?;
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let idle = idle.clone();
        tokio::spawn(async move {
            let forward = hyper::service::service_fn(move |request| forward(request, service, idle.clone()));
            let builder = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no error of a benchmark.
            let _ = builder.serve_connection(TokioIo::new(stream), forward).await;
        });
    }
}

async fn forward(
    request: Request<Incoming>,
    service: SocketAddr,
    idle: Idle,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut sender = match kept {
        Some(sender) if sender.is_ready() => sender,
        _ => {
            let stream = TcpStream::connect(service).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
    };
    let response = sender.send_request(request).await?;
    tokio::spawn(async move {
        if sender.ready().await.is_ok() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
    });
    Ok(response)
}
