//! The control API over TLS: who may come in, as whom, and what is said to those who may not.

mod support;

use control::server::Grant;
use control::tls::{ClientTls, RoleRule, Shown, TlsOptions};
use control::{Client, ClientError, Code, Endpoint, Options, Role, Server, TcpOptions, Token};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::Agent;
use support::certificates::{Authority, Order};
use tempfile::TempDir;

/// Authorities, files, and an agent that asks for certificates.
struct Ground {
    dir: TempDir,
    ca: Authority,
    agent: Agent,
}

impl Ground {
    async fn start(change: impl FnOnce(&mut TcpOptions)) -> Ground {
        let dir = TempDir::new().unwrap();
        let ca = Authority::new("murphy test");
        let server = ca.server(&dir.path().join("server.pem"));
        let mut tcp = TcpOptions::new("127.0.0.1:0".parse().unwrap());
        tcp.tls = Some(TlsOptions {
            cert: server.clone(),
            key: server,
            client_ca: Some(ca.file(&dir.path().join("ca.pem"))),
            roles: ["ada=admin", "ci=viewer", "*=operator"]
                .iter()
                .map(|r| r.parse::<RoleRule>().unwrap())
                .collect(),
            tell: |_| {},
        });
        change(&mut tcp);
        Ground { dir, ca, agent: Agent::with(tcp).await }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shown(&self, cert: Option<PathBuf>) -> Shown {
        Shown { ca: Some(self.at("ca.pem")), cert, ..Shown::default() }
    }

    fn endpoint(&self, scheme: &str, host: &str) -> Endpoint {
        format!("{scheme}://{host}:{}", self.agent.server().address().unwrap().port()).parse().unwrap()
    }

    fn client(&self, shown: Shown) -> Client {
        Client::new(self.endpoint("https", "127.0.0.1").with_tls(Arc::new(ClientTls::open(shown).unwrap())))
    }

    /// The client of someone with a good certificate.
    fn someone(&self, name: &str) -> Client {
        self.client(self.shown(Some(self.ca.client(&self.at(&format!("{name}.pem")), name))))
    }

    async fn refused(&self, shown: Shown) -> String {
        trouble(&self.client(shown)).await
    }
}

async fn trouble(client: &Client) -> String {
    let e = client.status().await.unwrap_err();
    assert!(matches!(e, ClientError::Tls { .. }) && e.unreachable() && !e.brief().is_empty(), "{e:?}");
    e.to_string()
}

#[tokio::test]
async fn certificates_say_who_it_is_and_what_they_may() {
    let ground = Ground::start(|_| {}).await;
    for (name, role) in [("ada", Role::Admin), ("ci", Role::Viewer), ("bob", Role::Operator)] {
        let you = ground.someone(name).status().await.unwrap().you;
        assert_eq!((you.name, you.role), (format!("{name} (certificate)"), role));
    }
    let fault = ground.someone("bob").arm(&support::latency(), None).await.unwrap();
    assert_eq!(fault.by, "bob (certificate)");
    let looks = ground.someone("ci").disarm(&fault.id).await.unwrap_err();
    assert_eq!(looks.code(), Some(Code::Forbidden), "{looks}");
    // Anyone may halt.
    ground.someone("ci").halt().await.unwrap();
    let operator = ground.someone("bob").lift().await.unwrap_err();
    assert_eq!(operator.code(), Some(Code::Forbidden), "{operator}");
    ground.someone("ada").lift().await.unwrap();
}

#[tokio::test]
async fn each_way_of_being_wrong_has_its_own_words() {
    let ground = Ground::start(|_| {}).await;
    let stranger = Authority::new("stranger");
    let order = |client, days| Order { name: "bob", names: &["127.0.0.1", "localhost"], client, days };
    let expect = |text: String, words: &[&str]| {
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    };
    // Of the client's certificate.
    expect(ground.refused(ground.shown(None)).await, &["asks for a certificate", "--cert"]);
    let namesake = Authority::new("murphy test").client(&ground.at("namesake.pem"), "bob");
    expect(ground.refused(ground.shown(Some(namesake))).await, &["does not know the authority"]);
    let foreign = stranger.client(&ground.at("foreign.pem"), "bob");
    expect(
        ground.refused(ground.shown(Some(foreign))).await,
        &["does not know the authority", "foreign.pem", "--tls-client-ca"],
    );
    let old = ground.ca.sign(&ground.at("old.pem"), &order(true, [-9, -2]));
    expect(ground.refused(ground.shown(Some(old))).await, &["old.pem has expired", "renew it"]);
    let server = ground.ca.sign(&ground.at("server2.pem"), &order(false, [-1, 1]));
    expect(ground.refused(ground.shown(Some(server))).await, &["not one of a client", "clientAuth"]);
    // Of the agent's.
    let me = || Some(ground.ca.client(&ground.at("me.pem"), "me"));
    let other = stranger.file(&ground.at("other.pem"));
    let shown = Shown { ca: Some(other), ..ground.shown(me()) };
    expect(ground.refused(shown).await, &["not signed by the authority in", "other.pem", "--ca"]);
    let shown = Shown { name: Some("elsewhere".into()), ..ground.shown(me()) };
    expect(ground.refused(shown).await, &["is for localhost, 127.0.0.1, not for elsewhere", "--server-name"]);
    for (days, client, words) in [
        ([-9, -2], false, &["has expired 2d ago", "renew it there"][..]),
        ([3, 9], false, &["is valid in"][..]),
        ([-1, 1], true, &["not one of a server", "serverAuth"][..]),
    ] {
        ground.ca.sign(&ground.at("server.pem"), &order(client, days));
        expect(ground.refused(ground.shown(me())).await, words);
    }
    // No TLS where it is spoken, and TLS where it is not.
    let plain = Client::new(ground.endpoint("http", "127.0.0.1")).status().await.unwrap_err();
    assert_eq!(plain.code(), Some(Code::BadRequest), "{plain:?}");
    expect(plain.to_string(), &["speaks TLS", "https://", "--ca"]);
    let clear = Agent::start().await;
    let at = format!("https://{}", clear.server().address().unwrap()).parse::<Endpoint>().unwrap();
    let tls = ClientTls::open(ground.shown(None)).unwrap();
    expect(trouble(&Client::new(at.with_tls(Arc::new(tls)))).await, &["does not speak TLS", "http://127"]);
    // Someone who ends every handshake.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("https://{}", deaf.local_addr().unwrap()).parse::<Endpoint>().unwrap();
    tokio::spawn(async move { while deaf.accept().await.is_ok() {} });
    let tls = ClientTls::open(ground.shown(None)).unwrap();
    let broken = Client::new(at.with_tls(Arc::new(tls))).status().await.unwrap_err();
    assert!(
        matches!(&broken, ClientError::Unreachable { why, .. } if why.contains("handshake")),
        "{broken:?}"
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_before_anything_is_asked() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::new("a");
    let (one, two) = (ca.client(&dir.path().join("1.pem"), "a"), ca.client(&dir.path().join("2.pem"), "b"));
    std::fs::write(dir.path().join("junk"), "x").unwrap();
    let open = |ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>, name: Option<&str>| {
        let own = |p: Option<&Path>| p.map(Path::to_owned);
        let shown = Shown { ca: own(ca), cert: own(cert), key: own(key), name: name.map(str::to_owned) };
        ClientTls::open(shown).unwrap_err().to_string()
    };
    let (junk, none) = (dir.path().join("junk"), dir.path().join("none"));
    assert!(open(Some(&none), None, None, None).contains("the roots cannot be read from"));
    assert!(open(Some(&junk), None, None, None).contains("does not have the roots"));
    assert!(open(Some(&one), Some(&junk), None, None).contains("does not have the certificate"));
    let alone = ca.file(&dir.path().join("alone.pem"));
    let keyless = open(Some(&one), Some(&alone), None, None);
    assert!(keyless.contains("does not have the private key") && keyless.contains("--key"), "{keyless}");
    // It has the key of the one, not of the other.
    let wrong = open(Some(&one), Some(&one), Some(&two), None);
    assert!(wrong.contains("is not that of the certificate"), "{wrong}");
    assert!(open(Some(&one), None, None, Some("not a name")).contains("no name"));
}

#[tokio::test]
async fn with_a_token_too_both_are_asked_for() {
    let token = Token::generate().unwrap();
    let grant = Grant { name: "token".into(), role: Role::Operator, token: token.clone().into() };
    let ground = Ground::start(|tcp| tcp.grants.push(grant)).await;
    let without = ground.someone("ada");
    let e = without.status().await.unwrap_err();
    assert_eq!(e.code(), Some(Code::Unauthorized), "{e}");
    let with = Client::new(without.endpoint().clone().with_token(Some(token.clone())));
    let you = with.status().await.unwrap().you;
    assert_eq!((you.name.as_str(), you.role), ("ada (certificate)", Role::Admin));
    // The token alone does not get past the handshake.
    let bare = ground.client(ground.shown(None)).endpoint().clone().with_token(Some(token));
    assert!(trouble(&Client::new(bare)).await.contains("asks for a certificate"));
}

#[tokio::test]
async fn a_token_alone_travels_over_tls() {
    let token = Token::generate().unwrap();
    let grant = Grant { name: "ci".into(), role: Role::Operator, token: token.clone().into() };
    let ground = Ground::start(|tcp| {
        tcp.grants.push(grant);
        tcp.tls.as_mut().unwrap().client_ca = None;
    })
    .await;
    // Whose authority it is stands in this file.
    ground.ca.file(&ground.at("ca.pem"));
    let client = ground.client(ground.shown(None));
    assert_eq!(client.status().await.unwrap_err().code(), Some(Code::Unauthorized));
    let with = Client::new(client.endpoint().clone().with_token(Some(token)));
    assert_eq!(with.status().await.unwrap().you.name, "ci");
}

#[tokio::test]
async fn beyond_loopback_certificates_are_enough_and_tls_alone_is_not() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::new("a");
    let server = ca.server(&dir.path().join("server.pem"));
    let tls = TlsOptions {
        cert: server.clone(),
        key: server.clone(),
        client_ca: None,
        roles: Default::default(),
        tell: |_| {},
    };
    let start = async |tls: TlsOptions| {
        let tcp = TcpOptions { tls: Some(tls), ..TcpOptions::new("0.0.0.0:0".parse().unwrap()) };
        Server::start(Options { socket: None, tcp: Some(tcp) }, support::memory::Memory::new("a")).await
    };
    let open = start(tls.clone()).await.unwrap_err().to_string();
    assert!(open.contains("anyone there could inject faults"), "{open}");
    let asks = TlsOptions { client_ca: Some(ca.file(&dir.path().join("ca.pem"))), ..tls.clone() };
    start(asks.clone()).await.unwrap().stop().await;
    let missing = TlsOptions { client_ca: Some(dir.path().join("none")), ..asks.clone() };
    assert!(start(missing).await.unwrap_err().to_string().contains("cannot be read"));
    let keyless = TlsOptions { key: dir.path().join("ca.pem"), ..asks };
    assert!(start(keyless).await.unwrap_err().to_string().contains("does not have the private key"));
}

#[tokio::test]
async fn certificates_change_while_connections_go_on() {
    use futures::StreamExt;
    let ground = Ground::start(|_| {}).await;
    let bob = ground.someone("bob");
    let mut events = bob.events(None);
    assert!(matches!(events.next().await, Some(control::Signal::Connected { fresh: true })));
    // Another authority, for both sides: those of before are strangers now.
    let next = Authority::new("next");
    next.server(&ground.at("server.pem"));
    next.file(&ground.at("ca.pem"));
    // A certificate of before is refused; the client has read the new authority as well.
    let old = trouble(&bob).await;
    assert!(old.contains("does not know the authority"), "{old}");
    next.client(&ground.at("bob.pem"), "bob");
    assert_eq!(bob.status().await.unwrap().you.name, "bob (certificate)");
    // What was open goes on.
    bob.arm(&support::latency(), None).await.unwrap();
    let next_event = tokio::time::timeout(std::time::Duration::from_secs(20), events.next()).await;
    assert!(matches!(next_event, Ok(Some(control::Signal::Event(_)))), "{next_event:?}");
    // Files that cannot be used change nothing.
    std::fs::write(ground.at("server.pem"), "x").unwrap();
    bob.status().await.unwrap();
}
