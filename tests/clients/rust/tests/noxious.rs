//! Everything that noxious-client (crates.io, unchanged) can do, against the server at `TOXIPROXY_PORT`. Proxies listen at
//! `TOXIPROXY_LISTEN`, any port of an address that is free for us: one that is let go is there again.

use noxious_client::error::ClientError;
use noxious_client::{Client, Proxy, ProxyConfig, StreamDirection, Toxic, ToxicKind};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn client() -> Client {
    Client::new(&format!("127.0.0.1:{}", std::env::var("TOXIPROXY_PORT").unwrap()))
}

fn listen() -> String {
    std::env::var("TOXIPROXY_LISTEN").unwrap()
}

/// Gives back what it gets, on a port of its own.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// The proxy as the server has it: what this client keeps is what it sent.
async fn made(name: &str, upstream: &str) -> Proxy {
    client().create_proxy(name, &listen(), upstream).await.unwrap();
    client().proxy(name).await.unwrap()
}

async fn ping(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut back)).await.unwrap().unwrap();
    begin.elapsed()
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, status: u16, text: &str) {
    match result {
        Err(ClientError::ApiError(e)) => assert_eq!((e.status_code, e.message.as_str()), (status, text)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn proxies() {
    let upstream = echo().await;
    let mut proxy = made("proxies", &upstream).await;
    assert!(proxy.is_enabled());
    assert!(client().proxies().await.unwrap().contains_key("proxies"));
    refused(client().proxy("none").await, 404, "proxy not found");
    refused(client().create_proxy("proxies", &listen(), &upstream).await, 409, "proxy already exists");
    let taken = &proxy.config.listen;
    let in_use = format!("listen tcp {taken}: bind: address already in use");
    refused(client().create_proxy("other", taken, &upstream).await, 500, &in_use);
    let mut held = TcpStream::connect(taken).await.unwrap();
    ping(&mut held).await;
    proxy.disable().await.unwrap();
    assert!(!client().proxy("proxies").await.unwrap().is_enabled());
    assert!(matches!(held.read(&mut [0; 4]).await, Ok(0) | Err(_)), "open connections are closed");
    assert!(TcpStream::connect(&proxy.config.listen).await.is_err());
    proxy.enable().await.unwrap();
    ping(&mut TcpStream::connect(&proxy.config.listen).await.unwrap()).await;
    proxy.config.upstream = "localhost:1".to_owned();
    proxy.save().await.unwrap();
    assert_eq!(client().proxy("proxies").await.unwrap().config.upstream, "localhost:1");
    // Toxiproxy's names do not change.
    proxy.change_name("renamed").await.unwrap();
    refused(client().proxy("renamed").await, 404, "proxy not found");
    client().proxy("proxies").await.unwrap().delete().await.unwrap();
    refused(client().proxy("proxies").await, 404, "proxy not found");
}

#[tokio::test]
async fn populate() {
    let proxy = |name: &str| ProxyConfig {
        name: name.to_owned(),
        listen: listen(),
        upstream: "localhost:1".to_owned(),
        enabled: true,
        rand_seed: None,
    };
    // This client expects a bare list, which no Toxiproxy sends: what it asked for is done all the same.
    let told = client().populate(&[proxy("populate1"), proxy("populate2")]).await;
    assert!(matches!(told, Err(ClientError::IoError(_))), "{told:?}");
    for name in ["populate1", "populate2"] {
        client().proxy(name).await.unwrap().delete().await.unwrap();
    }
    refused(client().populate(&[proxy("")]).await, 400, "missing required field: name at proxy 1");
}

#[tokio::test]
async fn toxics() {
    let proxy = made("toxics", &echo().await).await;
    let kinds = [
        ToxicKind::Latency { latency: 100, jitter: 10 },
        ToxicKind::Timeout { timeout: 1000 },
        ToxicKind::Bandwidth { rate: 1000 },
        ToxicKind::SlowClose { delay: 100 },
        ToxicKind::Slicer { average_size: 100, size_variation: 10, delay: 100 },
        ToxicKind::LimitData { bytes: 1000 },
    ];
    for direction in [StreamDirection::Upstream, StreamDirection::Downstream] {
        for (i, kind) in kinds.into_iter().enumerate() {
            let name = format!("{direction}{i}");
            let toxic = Toxic { kind, name: name.clone(), toxicity: 0.5, direction };
            let made = proxy.add_toxic(&toxic).await.unwrap();
            assert_eq!((made.kind, made.toxicity, made.direction), (kind, 0.5, direction));
            refused(proxy.add_toxic(&toxic).await, 409, "toxic already exists");
        }
    }
    let all = proxy.toxics().await.unwrap();
    assert_eq!(all.len(), 12);
    assert!(all[..6].iter().all(|t| t.direction == StreamDirection::Upstream));
    let kind = ToxicKind::Latency { latency: 7, jitter: 0 };
    let changed = proxy.update_toxic("upstream0", -3.0, kind, StreamDirection::Upstream).await.unwrap();
    assert_eq!((changed.kind, changed.toxicity), (kind, 0.0));
    for toxic in all {
        proxy.remove_toxic(toxic.get_name()).await.unwrap();
    }
    refused(proxy.remove_toxic("upstream0").await, 404, "toxic not found");
    assert!(proxy.toxics().await.unwrap().is_empty());
    proxy.delete().await.unwrap();
}

#[tokio::test]
async fn toxics_do_what_they_say_until_reset() {
    let proxy = made("late", &echo().await).await;
    let mut stream = TcpStream::connect(&proxy.config.listen).await.unwrap();
    ping(&mut stream).await;
    for direction in [StreamDirection::Upstream, StreamDirection::Downstream] {
        let kind = ToxicKind::Latency { latency: 60, jitter: 0 };
        let toxic = Toxic { kind, name: format!("late {direction}"), toxicity: 1.0, direction };
        proxy.add_toxic(&toxic).await.unwrap();
    }
    assert!(ping(&mut stream).await >= Duration::from_millis(120));
    client().reset_state().await.unwrap();
    assert!(proxy.toxics().await.unwrap().is_empty());
    ping(&mut stream).await;
    proxy.delete().await.unwrap();
}
