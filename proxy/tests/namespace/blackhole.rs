//! A service whose packets nf_tables drops: what its clients get is what they would get of it without us, but no dial lasts
//! longer than `connect_timeout`.

use crate::spaces::{block_on, enter, ip, nft, open, ready};
use model::ConnectionState;
use murphy_proxy::ProxyInjector;
use serde_json::json;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SERVICE: &str = "10.77.0.1:9000";
const LISTEN: &str = "127.0.0.1:7000";
/// Long enough to see that nothing comes, on a machine that answers within a millisecond.
const SILENCE: Duration = Duration::from_millis(500);

const HOLE: &str = "table ip hole {
    chain input {
        type filter hook input priority 0
        tcp dport 9000 drop
        tcp sport 9000 drop
    }
}
";

fn prepare() -> Result<(), String> {
    enter()?;
    ip("address add 10.77.0.1/32 dev lo")?;
    // Shows that there is what it needs.
    dig()?;
    fill()
}

fn dig() -> Result<(), String> {
    nft(HOLE)
}

fn fill() -> Result<(), String> {
    nft("delete table ip hole")
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(SILENCE, stream.read(&mut byte)).await.is_err()
}

fn states(proxy: &ProxyInjector) -> Vec<ConnectionState> {
    proxy.connections().iter().map(|c| c.state).collect()
}

#[test]
fn a_dial_into_nowhere_ends_with_a_reset_and_not_before() {
    if ready(prepare()).is_none() {
        return;
    }
    dig().unwrap();
    block_on(async {
        let _service = TcpListener::bind(SERVICE).await.unwrap();
        let proxy = ProxyInjector::new();
        let spec = json!({"listen": LISTEN, "upstream": SERVICE, "connect_timeout": "5s"});
        open(&proxy, spec).await;
        let begun = Instant::now();
        let mut client = TcpStream::connect(LISTEN).await.unwrap();
        client.write_all(b"anyone there?").await.unwrap();
        assert!(is_silent(&mut client).await);
        assert_eq!(states(&proxy), [ConnectionState::Dialling]);
        assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_dial_goes_through_when_the_way_is_free_in_time() {
    if ready(prepare()).is_none() {
        return;
    }
    dig().unwrap();
    block_on(async {
        let service = TcpListener::bind(SERVICE).await.unwrap();
        let proxy = ProxyInjector::new();
        open(&proxy, json!({"listen": LISTEN, "upstream": SERVICE, "connect_timeout": "1m"})).await;
        let mut client = TcpStream::connect(LISTEN).await.unwrap();
        client.write_all(b"early words").await.unwrap();
        assert!(is_silent(&mut client).await);
        fill().unwrap();
        let (mut served, _) = service.accept().await.unwrap();
        let mut words = [0; 11];
        served.read_exact(&mut words).await.unwrap();
        assert_eq!(&words, b"early words");
    });
}

#[test]
fn a_connection_that_falls_into_a_hole_is_silent_and_goes_on_afterwards() {
    if ready(prepare()).is_none() {
        return;
    }
    block_on(async {
        let service = TcpListener::bind(SERVICE).await.unwrap();
        let proxy = ProxyInjector::new();
        open(&proxy, json!({"listen": LISTEN, "upstream": SERVICE})).await;
        let mut client = TcpStream::connect(LISTEN).await.unwrap();
        let (mut served, _) = service.accept().await.unwrap();
        let mut word = [0; 4];
        client.write_all(b"ping").await.unwrap();
        served.read_exact(&mut word).await.unwrap();
        served.write_all(b"pong").await.unwrap();
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"pong");

        dig().unwrap();
        client.write_all(b"up_1").await.unwrap();
        served.write_all(b"down").await.unwrap();
        let (up, down) = tokio::join!(is_silent(&mut served), is_silent(&mut client));
        assert!(up && down, "up {up}, down {down}");
        assert_eq!(states(&proxy), [ConnectionState::Open]);

        fill().unwrap();
        served.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"up_1");
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"down");
        // Ends in order, and nothing came twice.
        client.shutdown().await.unwrap();
        assert_eq!(served.read(&mut word).await.unwrap(), 0);
        drop(served);
        assert_eq!(client.read(&mut word).await.unwrap(), 0);
    });
}
