//! TLS with a client of the same family, and a service that echoes: what the tests with other programs cannot see.

use crate::bench::{Bench, PATIENCE, until};
use murphy_proxy::ProxyInjector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, HandshakeKind, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Ground {
    bench: Bench,
    client: TlsConnector,
    _dir: tempfile::TempDir,
}

impl Ground {
    async fn start() -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let service = echo().await;
        let bench = Bench::of(
            ProxyInjector::new().with_ca(&ca),
            serde_json::json!({"listen": "127.0.0.1:0", "upstream": service.to_string(), "tls": {"downstream": "terminate"}}),
        )
        .await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ground { bench, client: Arc::new(config).into(), _dir: dir }
    }

    async fn connect(&self, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.bench.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        tokio::time::timeout(PATIENCE, self.client.connect(name, socket)).await?
    }

    /// Why a handshake is refused.
    async fn refused(&self, name: &str) -> Error {
        let why = self.connect(name).await.expect_err("the handshake was accepted");
        why.get_ref().and_then(|e| e.downcast_ref::<Error>()).unwrap_or_else(|| panic!("{why}")).clone()
    }
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn echoes(stream: &mut TlsStream<TcpStream>, text: &str) -> bool {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
    back == text.as_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_have_the_one_flaw_that_was_asked_for() {
    let ground = Ground::start().await;
    for name in ["shop.example", "127.0.0.1", "localhost"] {
        assert!(echoes(&mut ground.connect(name).await.unwrap(), "hello").await, "{name}");
    }
    let armed = |problem: &str| format!("tls_certificate problem={problem}");
    for problem in ["expired", "not_yet_valid", "wrong_host", "self_signed", "unknown_ca", "weak_key"] {
        let fault = ground.bench.arm(&armed(problem)).await;
        let why = ground.refused("shop.example").await;
        let Error::InvalidCertificate(why) = why else { panic!("{problem}: {why}") };
        let right = match problem {
            "expired" => matches!(why, CertificateError::ExpiredContext { .. }),
            "not_yet_valid" => matches!(why, CertificateError::NotValidYetContext { .. }),
            "wrong_host" => matches!(why, CertificateError::NotValidForNameContext { .. }),
            // It is right but for its key, whose signature ring does not check.
            "weak_key" => true,
            _ => matches!(why, CertificateError::UnknownIssuer),
        };
        assert!(right, "{problem}: {why:?}");
        ground.bench.disarm(&fault).await;
        assert_eq!(ground.bench.evidence(&fault).applied, 1);
    }
    // What is on the list is right in all else.
    ground.bench.arm(&armed("revoked")).await;
    assert!(echoes(&mut ground.connect("shop.example").await.unwrap(), "hello").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_could_be_resumed_does_not_hide_a_flaw() {
    let ground = Ground::start().await;
    let kind = |stream: &TlsStream<TcpStream>| stream.get_ref().1.handshake_kind().unwrap();
    // The ticket comes with the first bytes.
    let mut first = ground.connect("shop.example").await.unwrap();
    assert!(echoes(&mut first, "hello").await);
    let mut second = ground.connect("shop.example").await.unwrap();
    assert_eq!(kind(&second), HandshakeKind::Resumed);
    assert!(echoes(&mut second, "hello").await);
    let fault = ground.bench.arm("tls_certificate problem=expired").await;
    assert!(matches!(ground.refused("shop.example").await, Error::InvalidCertificate(_)));
    assert!(echoes(&mut first, "still there").await && echoes(&mut second, "still there").await);
    ground.bench.disarm(&fault).await;
    assert!(echoes(&mut ground.connect("shop.example").await.unwrap(), "again").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transfers_pass_both_ways_and_end_in_order() {
    let ground = Ground::start().await;
    let (mut read, mut write) = tokio::io::split(ground.connect("shop.example").await.unwrap());
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let all = sent.clone();
    let up = tokio::spawn(async move {
        write.write_all(&all).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut back = Vec::new();
    // Without a close_notify this would be an error.
    tokio::time::timeout(PATIENCE, read.read_to_end(&mut back)).await.unwrap().unwrap();
    assert!(back == sent);
    up.await.unwrap();
    until("the connection is over", || async { ground.bench.totals().open == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_tls_is_told_so_and_those_who_leave_are_forgotten() {
    let ground = Ground::start().await;
    let mut plain = TcpStream::connect(ground.bench.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [21, 3, 1, 0, 2, 2, 10]);
    for bytes in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut half = TcpStream::connect(ground.bench.address).await.unwrap();
        half.write_all(bytes).await.unwrap();
        drop(half);
    }
    until("they are over", || async { ground.bench.totals().open == 0 }).await;
    // One that a fault stalls is ended with its target.
    ground.bench.arm("tls_stall").await;
    let stalled = tokio::spawn({
        let (client, address) = (ground.client.clone(), ground.bench.address);
        async move {
            let socket = TcpStream::connect(address).await.unwrap();
            client.connect("shop.example".try_into().unwrap(), socket).await.is_err()
        }
    });
    until("it is stalled", || async { ground.bench.totals().open == 1 }).await;
    ground.bench.close().await;
    assert!(tokio::time::timeout(PATIENCE, stalled).await.unwrap().unwrap());
}
