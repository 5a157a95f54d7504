//! Connections that nf_tables redirects go where they were going.

use crate::spaces::{block_on, enter, ip, nft, open, ready};
use murphy_proxy::ProxyInjector;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SERVICE: &str = "10.77.0.1:9000";
/// Connections with this mark are redirected; the proxy's own are not.
const MARK: u32 = 7;

const RULES: &str = "table ip murphy_test {
    chain output {
        type nat hook output priority -100
        meta mark 7 tcp dport 9000 redirect to :7000
    }
}
";

/// Why it cannot run here; the namespace is made and set up otherwise.
fn prepare() -> Result<(), String> {
    enter()?;
    ip("address add 10.77.0.1/32 dev lo")?;
    nft(RULES)
}

#[test]
fn redirected_connections_go_where_they_were_going() {
    if ready(prepare()).is_none() {
        return;
    }
    block_on(async {
        let service = TcpListener::bind(SERVICE).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = service.accept().await {
                stream.write_all(b"here").await.unwrap();
            }
        });
        let proxy = ProxyInjector::new();
        open(&proxy, serde_json::json!({"listen": "127.0.0.1:7000", "upstream": "original"})).await;
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_mark(MARK).unwrap();
        client.connect(&SERVICE.parse::<SocketAddr>().unwrap().into()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client.into()).unwrap();
        let mut said = [0; 4];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"here");
        let seen = proxy.connections();
        assert_eq!(seen.iter().map(|c| c.upstream.as_deref()).collect::<Vec<_>>(), [Some(SERVICE)]);
    });
}
