//! Connections that nf_tables redirects go where they were going: IPv4 and IPv6, bytes, requests and sealed TLS.

use crate::spaces::{block_on, enter, ip, nft, open, ready};
use inject::Injector;
use murphy_proxy::ProxyInjector;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FOUR: &str = "10.77.0.1:9000";
const SIX: &str = "[fd77::1]:9000";
/// Connections with this mark are redirected; the proxy's own are not.
const MARK: u32 = 7;

const RULES: &str = "table inet murphy_test {
    chain output {
        type nat hook output priority -100
        meta mark 7 tcp dport 9000 redirect to :7000
    }
}
";

/// What a TLS client says first, so short that it is only its beginning; sealed connections carry it on unread.
const HELLO: &[u8] = b"not a handshake: sealed connections carry on what they do not understand";

/// Why it cannot run here; the namespace is made and set up otherwise.
fn prepare() -> Result<(), String> {
    enter()?;
    ip("address add 10.77.0.1/32 dev lo")?;
    ip("address add fd77::1/128 dev lo nodad")?;
    nft(RULES)
}

/// Says back what it was told, to everyone.
async fn serve(at: &str) {
    let service = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = service.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                while let Ok(n @ 1..) = stream.read(&mut heard).await {
                    let (own, said) = (stream.local_addr().unwrap(), &heard[..n]);
                    let answer = match said.starts_with(b"GET") {
                        true => {
                            let body = own.to_string();
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                                .into_bytes()
                        }
                        false => said.to_vec(),
                    };
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
}

/// A client whose connections are redirected.
fn redirected(to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().unwrap();
    let client = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    client.set_mark(MARK).unwrap();
    client.connect(&to.into()).unwrap();
    client.set_nonblocking(true).unwrap();
    TcpStream::from_std(client.into()).unwrap()
}

/// What comes back for some bytes: as many as were sent.
async fn echoed(mut client: TcpStream, said: &[u8]) -> Vec<u8> {
    client.write_all(said).await.unwrap();
    let mut heard = vec![0; said.len()];
    client.read_exact(&mut heard).await.unwrap();
    heard
}

/// Everything that comes back for a request whose connection then ends.
async fn asked(mut client: TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}

fn original(protocol: &str, tls: &Value) -> Value {
    json!({"listen": "[::]:7000", "upstream": "original", "protocol": protocol, "tls": tls})
}

fn upstreams(proxy: &ProxyInjector) -> Vec<String> {
    proxy.connections().iter().filter_map(|c| c.upstream.clone()).collect()
}

#[test]
fn bytes_and_sealed_ones_go_where_they_were_going() {
    if ready(prepare()).is_none() {
        return;
    }
    block_on(async {
        serve(FOUR).await;
        serve(SIX).await;
        for tls in [Value::Null, json!({"downstream": "pass_through"})] {
            let proxy = ProxyInjector::new();
            open(&proxy, original("tcp", &tls)).await;
            for to in [FOUR, SIX] {
                assert_eq!(echoed(redirected(to), HELLO).await, HELLO, "{to}");
            }
            let held = [redirected(FOUR), redirected(SIX)];
            for mut client in held {
                client.write_all(HELLO).await.unwrap();
                client.read_exact(&mut [0; 8]).await.unwrap();
                assert!(upstreams(&proxy).iter().any(|u| [FOUR, SIX].contains(&u.as_str())));
            }
            proxy.close(&"proxy:it".parse().unwrap()).await;
        }
    });
}

#[test]
fn requests_go_where_they_were_going_and_direct_ones_are_told_why_not() {
    if ready(prepare()).is_none() {
        return;
    }
    block_on(async {
        serve(FOUR).await;
        serve(SIX).await;
        let proxy = ProxyInjector::new();
        open(&proxy, original("http", &Value::Null)).await;
        for to in [FOUR, SIX, FOUR] {
            let answer = asked(redirected(to)).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(to), "{to}: {answer}");
        }
        for direct in ["127.0.0.1:7000", "[::1]:7000", "10.77.0.1:7000", "[fd77::1]:7000"] {
            let answer = asked(TcpStream::connect(direct).await.unwrap()).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{direct}: {answer}");
            assert!(
                answer.contains("came to the proxy's own port and was not redirected"),
                "{direct}: {answer}"
            );
        }
        // Nothing of ours came back to us.
        for _ in 0..1000 {
            if upstreams(&proxy).is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{:?}", proxy.connections());
    });
}
