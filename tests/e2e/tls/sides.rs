//! TLS with the service, TLS that passes through, and HTTP above it.

use super::Ground;
use crate::ground::{Agent, curl, free_port, s_client};
use std::time::{Duration, Instant};

#[test]
fn both_versions_of_http_by_alpn() {
    let Some(ground) = Ground::with("http,tls,upstream-tls,roots=DIR/ca.pem,sni=service.test", |n| n.tls)
    else {
        return;
    };
    let Ground { agent, port, root, .. } = &ground;
    for (flag, version) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let seen = curl("shop.test", *port, root, &[flag]);
        assert_eq!((seen.code, seen.out.as_str()), (0, version), "{seen:?}");
    }
    let id = agent.arm("proxy:web abort status=503");
    for (flag, version) in [("--http1.1", "1.1 503"), ("--http2", "2 503")] {
        assert_eq!(curl("shop.test", *port, root, &[flag]).out, version);
    }
    agent.disarm(&id);
    let id = agent.arm("proxy:web tls_certificate problem=expired");
    assert_eq!(curl("shop.test", *port, root, &[]).code, 60);
    agent.disarm(&id);
    let list = agent.murphy(&["list"]).out;
    assert!(list.contains("http tls, tls to the service"), "{list}");
}

#[test]
fn a_service_that_has_only_one_version_is_spoken_to_in_that() {
    // This one does not offer HTTP/2 by ALPN; it also wants a certificate.
    let words = "http,tls,roots=DIR/ca.pem,client-cert=DIR/client.pem,client-key=DIR/client.key";
    let Some(ground) = Ground::with(words, |n| n.demanding) else { return };
    for (flag, version) in [("--http2", "2 200"), ("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        let seen = curl("shop.test", ground.port, &ground.root, &[flag]);
        assert_eq!((seen.code, seen.out.as_str()), (0, version), "{seen:?}");
    }
    let Some(ground) = Ground::with("http,tls", |n| n.plain) else { return };
    for (flag, version) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        assert_eq!(curl("shop.test", ground.port, &ground.root, &[flag]).out, version);
    }
}

/// What a client gets through a proxy in front of nginx, by the words of its TLS.
fn through(ground: &Ground, words: &str, upstream: u16) -> (u16, String) {
    let port = free_port();
    let words = words.replace("DIR/", &ground.nginx.file(""));
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{upstream},http,{words}")]);
    let answer = crate::ground::get(port, "/").unwrap();
    drop(agent);
    (answer.status, format!("{}{}", answer.head, answer.body))
}

#[test]
fn the_service_is_checked_and_shown_a_certificate() {
    let Some(ground) = Ground::start() else { return };
    let nginx = &ground.nginx;
    let roots = "roots=DIR/ca.pem";
    assert_eq!(through(&ground, &format!("upstream-tls,{roots}"), nginx.tls).0, 200);

    let (status, says) = through(&ground, "upstream-tls,roots=DIR/client.pem", nginx.tls);
    assert!(
        status == 502 && says.contains("x-murphy-error") && says.contains("tls.upstream.roots"),
        "{says}"
    );
    let (status, says) = through(&ground, &format!("{roots},sni=other.test"), nginx.tls);
    assert!(status == 502 && says.contains("not for other.test"), "{says}");
    let (status, says) = through(&ground, &format!("upstream-tls,{roots}"), nginx.plain);
    assert!(status == 502 && says.contains("does not speak TLS"), "{says}");
    assert_eq!(through(&ground, "insecure", nginx.tls).0, 200);

    // nginx answers 400 to those who show none.
    assert_eq!(through(&ground, roots, nginx.demanding).0, 400);
    let shown = format!("{roots},client-cert=DIR/client.pem,client-key=DIR/client.key");
    assert_eq!(through(&ground, &shown, nginx.demanding).0, 200);

    // Wrong files are refused before anything is opened.
    let start = |words: String| {
        let words = words.replace("DIR/", &nginx.file(""));
        ground.agent.murphy(&[
            "arm",
            "proxy:x",
            "latency",
            "delay=1ms",
            "--for",
            "1s",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "127.0.0.1:9",
            "--tls",
            &words,
        ])
    };
    for (words, says) in [
        ("tls,cert=DIR/service.pem,key=DIR/client.key", "is not that of the certificate"),
        ("tls,cert=DIR/service.key,key=DIR/service.key", "does not have the certificate"),
        ("roots=DIR/none.pem", "cannot be read from"),
        ("pass-through,upstream-tls", "encrypted already"),
        ("roots=DIR/ca.pem,insecure", "keep one of them"),
        ("tsl", "it can be tls"),
    ] {
        let done = start(words.into());
        assert!(done.code != 0 && done.err.contains(says), "{words}: {done:?}");
    }
}

#[test]
fn a_certificate_of_ones_own_is_shown() {
    let Some(ground) = Ground::with("tls,cert=DIR/service.pem,key=DIR/service.key", |n| n.plain) else {
        return;
    };
    let theirs = ground.nginx.file("ca.pem");
    assert_eq!(curl("service.test", ground.port, &theirs, &[]).code, 0);
    assert_eq!(curl("service.test", ground.port, &ground.root, &[]).code, 60);
}

#[test]
fn tls_that_passes_through() {
    let Some(ground) = Ground::with("pass-through", |n| n.tls) else { return };
    let Ground { agent, port, nginx, .. } = &ground;
    let root = nginx.file("ca.pem");
    let ask = |more: &[&str]| curl("service.test", *port, &root, more);
    assert_eq!((ask(&[]).code, ask(&["--http2"]).out.as_str()), (0, "2 200"));
    for (fault, says) in [
        ("tls_alert alert=access_denied", "access denied"),
        ("tls_plain_text", "wrong version number"),
        ("tls_cipher how=unoffered", "unknown cipher returned"),
        ("tls_version only=tls1.1", "protocol"),
    ] {
        let id = agent.arm(&format!("proxy:web {fault} when.sni=service.*"));
        let seen = ask(&[]);
        assert!(seen.code == 35 && seen.err.contains(says), "{fault}: {seen:?}");
        assert_eq!(curl("localhost", *port, &root, &[]).code, 0, "{fault}");
        agent.disarm(&id);
    }
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        for step in ["client_hello", "server_hello", "certificate", "finished"] {
            let id = agent.arm(&format!("proxy:web tls_stall step={step} delay=200ms"));
            let begun = Instant::now();
            let late = ask(version);
            assert!(late.code == 0 && begun.elapsed() >= Duration::from_millis(200), "{step}: {late:?}");
            let (applied, considered) = agent.disarm(&id);
            assert_eq!((applied, considered), (1, 1));
        }
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let whole = s_client("service.test", *port, &root, &[version]);
        assert!(!whole.err.contains("unexpected eof"), "{whole:?}");
        let id = agent.arm("proxy:web tls_truncate");
        let cut = s_client("service.test", *port, &root, &[version]);
        assert!(cut.out.contains("xend") && cut.err.contains("unexpected eof"), "{version}: {cut:?}");
        agent.disarm(&id);
    }
    let done = agent.murphy(&["arm", "proxy:web", "tls_certificate", "problem=expired", "--for", "5s"]);
    assert!(
        done.code != 0 && done.err.contains("the service's") && done.err.contains("terminate"),
        "{done:?}"
    );
}
