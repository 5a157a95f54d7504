//! Each fault on requests, with HTTP/1.1 and HTTP/2.

use super::{Ground, VERSIONS};
use crate::ground::binomial_ok;

/// curl's exit codes: the server closed without an answer; part of the body is missing; receiving failed (a reset, a broken
/// chunk); an HTTP/2 framing error; an HTTP/2 stream error; a weird answer; a header that is none.
const EMPTY: i32 = 52;
const PARTIAL: i32 = 18;
const RECEIVE: i32 = 56;
const H2_FRAMING: i32 = 16;
const H2_STREAM: i32 = 92;
const WEIRD: i32 = 8;
const UNSUPPORTED: i32 = 1;

#[test]
fn nothing_armed_changes_nothing() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let got = g.get(v, "/json?a=b");
        assert_eq!((got.exit, got.status, got.text().as_str()), (0, 200, r#"{"price": 7, "stock": 3}"#));
        let got = g.curl(v, "/echo/this?q=1", &["-d", "a body", "-H", "X-Mine: yes"]);
        assert!(
            got.text().starts_with("POST /echo/this?q=1\n") && got.text().ends_with("\na body"),
            "{got:?}"
        );
        let got = g.get(v, "/stream/5");
        assert_eq!(got.text(), "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n");
        assert_eq!(g.curl(v, "/bytes/7", &["--head"]).header("content-length").as_deref(), Some("7"));
    }
    // Where the protocol allows it, case and order are what the service sent.
    assert!(g.get(VERSIONS[0], "/json").head.contains("\r\nX-Odd-Case: Kept\r\n"));
    assert!(g.get(VERSIONS[1], "/json").head.contains("\r\nx-odd-case: Kept\r\n"));
}

#[test]
fn abort_and_stub() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let served = || g.get(v, "/served").text().parse::<u64>().unwrap();
        let before = served();
        let (got, applied) = g.with("abort status=429 body=busy headers=retry-after:1 when.path=/a", || {
            g.curl(v, "/a", &["-d", "x"])
        });
        assert_eq!((got.exit, got.status, got.text().as_str(), applied), (0, 429, "busy", 1), "{got:?}");
        assert_eq!(got.header("retry-after").as_deref(), Some("1"));
        assert!(got.header("x-murphy-fault").is_some(), "{}", got.head);
        let (got, _) = g.with("abort mark=false when.path=/a", || g.get(v, "/a"));
        assert!(got.status == 503 && got.header("x-murphy-fault").is_none(), "{got:?}");
        let (got, _) =
            g.with("stub body={} headers=content-type:application/json when.path=/a", || g.get(v, "/a"));
        assert_eq!((got.status, got.text().as_str()), (200, "{}"));
        let ends = [("close", EMPTY), ("reset", RECEIVE)];
        for (how, exit) in ends {
            let (got, applied) = g.with(&format!("abort how={how} when.path=/a"), || g.get(v, "/a"));
            let want = if v == VERSIONS[1] { H2_STREAM } else { exit };
            assert_eq!((got.exit, got.status, applied), (want, 0, 1), "{v} {how} {got:?}");
        }
        assert_eq!(served(), before, "the service saw none of them");
        // The work was done, and the answer thrown away.
        let (got, _) = g.with("abort point=response when.path=/a", || g.get(v, "/a"));
        assert_eq!((got.status, served()), (503, before + 1));
    }
}

#[test]
fn replace_and_patch() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let fault = "replace status=404 set=x-a:b,content-type:text/html remove=x-odd-case body=gone";
        let (got, applied) = g.with(fault, || g.get(v, "/json"));
        assert_eq!((got.status, got.text().as_str(), applied), (404, "gone", 1), "{got:?}");
        assert_eq!((got.header("x-a").as_deref(), got.header("x-odd-case")), (Some("b"), None));
        assert_eq!(got.header("content-type").as_deref(), Some("text/html"));
        let fault =
            "replace point=request method=PUT path=/other?x=1 set=x-user:nobody remove=x-mine body=else";
        let (got, _) = g.with(fault, || g.curl(v, "/echo", &["-d", "something", "-H", "X-Mine: 1"]));
        let text = got.text().to_lowercase();
        assert!(text.starts_with("put /other?x=1\n") && text.ends_with("\nelse"), "{v} {got:?}");
        assert!(text.contains("x-user: nobody") && !text.contains("x-mine"), "{text}");
        let (got, applied) = g.with(r#"patch json={"price":null,"new":1}"#, || g.get(v, "/json"));
        assert_eq!((got.text().as_str(), applied), (r#"{"new":1,"stock":3}"#, 1));
        let (got, _) = g.with("patch regex=[0-9]+ with=0", || g.get(v, "/json"));
        assert_eq!(got.text(), r#"{"price": 0, "stock": 0}"#);
        let (got, _) = g
            .with("patch point=request regex=secret with=public", || g.curl(v, "/echo", &["-d", "a secret"]));
        assert!(got.text().ends_with("\na public"), "{}", got.text());
    }
}

#[test]
fn bodies_are_corrupted_slowed_and_cut() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let (got, applied) = g.with("corrupt_body per_mb=200", || g.get(v, "/bytes/1000000"));
        let flipped: usize = got.body.iter().map(|b| b.count_ones() as usize).sum();
        assert_eq!((got.exit, got.body.len(), applied), (0, 1_000_000, 1));
        assert!(binomial_ok(flipped, 8_000_000, 200.0 / 8e6), "{flipped}");
        let (got, _) = g.with("throttle_body rate=100kB/s", || g.get(v, "/bytes/40000"));
        assert!((0.38..15.0).contains(&got.seconds) && got.body.len() == 40_000, "{}", got.seconds);
        let (got, _) = g.with("throttle_body rate=100kB/s direction=up", || {
            g.curl(v, "/echo", &["--data-binary", &"x".repeat(40_000)])
        });
        assert!((0.38..15.0).contains(&got.seconds) && got.body.len() > 40_000, "{}", got.seconds);
        let (got, _) = g.with("delay delay=60ms point=chunks", || g.get(v, "/stream/5"));
        assert_eq!((got.exit, got.text().lines().count()), (0, 5));
        assert!((0.05..15.0).contains(&got.seconds), "{}", got.seconds);
        for (how, exit) in [("close", PARTIAL), ("reset", RECEIVE)] {
            let (got, applied) =
                g.with(&format!("truncate_body after=10kB how={how}"), || g.get(v, "/bytes/20000"));
            let want = if v == VERSIONS[1] { H2_STREAM } else { exit };
            assert_eq!((got.exit, applied), (want, 1), "{v} {how} {got:?}");
            // A reset may overtake what was on its way.
            let may = how == "reset" || v == VERSIONS[1];
            assert!(got.body.len() <= 10_000 && (may || got.body.len() == 10_000), "{}", got.body.len());
        }
        let (got, _) = g.with("truncate_body after=10kB how=clean", || g.get(v, "/bytes/20000"));
        assert_eq!((got.exit, got.body.len()), (0, 10_000));
    }
}

#[test]
fn the_codec_itself_misbehaves() {
    let Some(g) = Ground::new() else { return };
    let [h1, h2] = VERSIONS;
    for (kind, path, exits) in [
        ("chunk_size", "/stream/3", &[RECEIVE][..]),
        ("chunk_end", "/stream/3", &[RECEIVE]),
        ("no_last_chunk", "/stream/3", &[PARTIAL]),
        ("length_too_large", "/bytes/100", &[PARTIAL]),
        ("two_lengths", "/bytes/100", &[PARTIAL]),
        ("length_not_a_number", "/bytes/100", &[WEIRD]),
        ("no_colon", "/bytes/100", &[WEIRD]),
        ("status_line", "/bytes/100", &[UNSUPPORTED, WEIRD]),
    ] {
        let (got, applied) = g.with(&format!("malformed kind={kind}"), || g.get(h1, path));
        assert!(exits.contains(&got.exit), "{kind}: {got:?}");
        assert_eq!(applied, 1, "{kind}");
    }
    // Less than was announced arrives as what was announced: the rest stays on the connection.
    let (got, _) = g.with("malformed kind=length_too_small", || g.get(h1, "/bytes/100"));
    assert!(got.body.len() < 100, "{got:?}");
    let (got, _) = g.with("malformed", || g.get(h2, "/bytes/100"));
    assert_eq!(got.exit, H2_STREAM, "{got:?}");

    for v in VERSIONS {
        let (got, _) = g.with("slow_headers bytes=50 delay=60ms", || g.get(v, "/json"));
        assert_eq!((got.exit, got.status), (0, 200));
        assert!((0.1..15.0).contains(&got.seconds), "{v}: {}", got.seconds);
    }
    let (got, _) = g.with("h2_reset code=REFUSED_STREAM first=1", || g.get(h2, "/json"));
    // curl sends a request again that was refused, once.
    assert_eq!((got.exit, got.status), (0, 200), "{got:?}");
    let (got, _) = g.with("h2_reset code=INTERNAL_ERROR", || g.get(h2, "/json"));
    assert_eq!(got.exit, H2_STREAM, "{got:?}");
    let (got, _) = g.with("h2_reset after=5kB", || g.get(h2, "/bytes/9000"));
    assert!(got.exit == H2_STREAM && got.body.len() <= 5000, "{got:?}");
    let (got, _) = g.with("h2_goaway", || g.get(h2, "/json"));
    assert_eq!((got.exit, got.status), (0, 200), "{got:?}");
    let (got, _) = g.with("h2_goaway code=ENHANCE_YOUR_CALM", || g.get(h2, "/json"));
    assert!([H2_FRAMING, H2_STREAM, RECEIVE, PARTIAL].contains(&got.exit), "{got:?}");
    let (got, _) = g.with("h2_goaway", || g.get(h1, "/json"));
    assert_eq!((got.status, got.header("connection").as_deref()), (200, Some("close")));
}

#[test]
fn requests_ask_for_their_own_faults() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let fault = "header_driven headers=murphy,envoy max_delay=300ms";
        let got = g.curl(v, "/echo", &["-H", "x-murphy-abort: 418"]);
        assert!(got.status == 200 && got.text().to_lowercase().contains("x-murphy-abort: 418"), "not armed");
        let ((teapot, envoy, slow, plain), applied) = g.with(fault, || {
            (
                g.curl(v, "/echo", &["-H", "x-murphy-abort: 418"]),
                g.curl(v, "/echo", &["-H", "x-envoy-fault-abort-request: 502"]),
                g.curl(v, "/echo", &["-H", "x-murphy-delay: 1h", "-H", "x-envoy-fault-delay-request: 7"]),
                g.get(v, "/echo"),
            )
        });
        assert_eq!((teapot.status, envoy.status, plain.status, applied), (418, 502, 200, 3));
        assert!((0.3..15.0).contains(&slow.seconds), "{}", slow.seconds);
        assert!(
            !slow.text().to_lowercase().contains("fault") && !slow.text().contains("murphy"),
            "{}",
            slow.text()
        );
    }
}

#[test]
fn what_a_share_spares_is_compared_with_what_it_hits() {
    let Some(g) = Ground::new() else { return };
    let id = g.agent.arm("proxy:web abort status=500 percent=50%");
    let n = 120;
    let hit = (0..n).filter(|_| g.get(VERSIONS[0], "/json").status == 500).count();
    let evidence = g.agent.ask(async |c| c.disarm(&id).await).unwrap().evidence;
    let measured =
        |name: &str| *evidence.measured.get(name).unwrap_or_else(|| panic!("{name}: {evidence:?}"));
    assert!(binomial_ok(hit, n, 0.5), "{hit}");
    assert_eq!((measured("hit_requests"), measured("spared_requests")), (hit as f64, (n - hit) as f64));
    assert_eq!((measured("hit_failed_percent"), measured("spared_failed_percent")), (100.0, 0.0));
    assert!(measured("spared_p50_ms") > 0.0);
}

#[test]
fn a_share_per_user_counts_for_each_of_them() {
    let Some(g) = Ground::new() else { return };
    let statuses = |user: &str, n: usize| -> Vec<u16> {
        let header = format!("x-user: {user}");
        (0..n).map(|_| g.curl(VERSIONS[0], "/json", &["-H", &header]).status).collect()
    };
    let (got, _) = g.with("abort status=500 first=2 per=header.x-user", || {
        (statuses("ann", 3), statuses("bob", 3), statuses("ann", 1), g.get(VERSIONS[0], "/json").status)
    });
    assert_eq!(got, (vec![500, 500, 200], vec![500, 500, 200], vec![200], 200));
    let (got, _) = g.with("abort status=500 percent=50% per=header.x-user", || {
        (0..20).map(|i| statuses(&format!("user {i}"), 2)).collect::<Vec<_>>()
    });
    assert!(got.iter().all(|s| s[0] == s[1]), "always or never: {got:?}");
    assert!(got.iter().any(|s| s[0] == 500) && got.iter().any(|s| s[0] == 200), "{got:?}");
}
