//! Each matcher, with requests that it fits and ones that it does not.

use super::{Ground, VERSIONS};

#[test]
fn each_matcher_hits_what_it_names_and_nothing_else() {
    let Some(g) = Ground::new() else { return };
    let none: &[&str] = &[];
    let big = "x".repeat(3000);
    let posted = ["-d", &*big];
    // What it asks for; a request that it fits, and one that it does not (none when empty).
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, &'a [&'a str]);
    let rows: Vec<Row<'_>> = vec![
        ("method=post,put", "/", &["-d", "x"], "/", none),
        ("path=/pay*", "/pay/7?q", none, "/cart", none),
        ("path_regex=^/v[0-9]+/", "/v2/cart", none, "/cart/v2/", none),
        ("host=*.shop", "/", &["-H", "Host: eu.SHOP:99"], "/", none),
        ("header.x-user=beta-*", "/", &["-H", "X-User: beta-7"], "/", &["-H", "X-User: alpha"]),
        ("query.page=1*", "/?a=b&page=12", none, "/?page=2", none),
        ("cookie.session=abc", "/", &["-b", "x=1; session=abc"], "/", &["-b", "session=abd"]),
        (
            "content_type=*json",
            "/",
            &["-d", "{}", "-H", "Content-Type: application/json; x=1"],
            "/",
            &["-d", "{}"],
        ),
        ("body_size=>=2KiB", "/", &posted, "/", &["-d", "x"]),
        ("client=127.0.0.0/8", "/", none, "", none),
        ("member=127.0.0.1:*", "/", none, "", none),
        ("client=10.0.0.0/8", "", none, "/", none),
    ];
    for v in VERSIONS {
        for (when, yes, with, no, without) in &rows {
            let fault = format!("abort status=418 when.{when}");
            let (got, _) = g.with(&fault, || {
                let hit = (!yes.is_empty()).then(|| g.curl(v, yes, with).status);
                let spared = (!no.is_empty()).then(|| g.curl(v, no, without).status);
                (hit, spared)
            });
            assert_eq!((got.0.unwrap_or(418), got.1.unwrap_or(200)), (418, 200), "{v} {when}");
        }
    }
}

#[test]
fn responses_decide_too() {
    let Some(g) = Ground::new() else { return };
    for v in VERSIONS {
        let (got, _) = g.with("abort status=503 point=response when.status=400-499", || {
            (g.get(v, "/status/404").status, g.get(v, "/status/201").status)
        });
        assert_eq!(got, (503, 201));
        let fault = "replace body=hidden when.response_header.content-type=*json";
        let (got, _) = g.with(fault, || (g.get(v, "/json").text(), g.get(v, "/status/200").text()));
        assert_eq!(got, ("hidden".to_owned(), "so be it\n".to_owned()));
    }
    // What acts before there is a response cannot ask for one.
    let done = g.agent.murphy(&["arm", "proxy:web", "abort", "--when", "status=500", "--for", "5s"]);
    assert!(done.code != 0 && done.err.contains("status"), "{done:?}");
}

#[test]
fn conditions_combine() {
    let Some(g) = Ground::new() else { return };
    let when = r#"{"any": [{"path": "/a"}, {"all": [{"path": "/b"}, {"not": {"header": {"x-ok": "*"}}}]}]}"#;
    let done = g.agent.murphy(&[
        "arm",
        "proxy:web",
        "abort",
        "status=418",
        "--when",
        when,
        "--for",
        "60s",
        "--id",
        "f",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let v = VERSIONS[0];
    assert_eq!(g.get(v, "/a").status, 418);
    assert_eq!((g.get(v, "/b").status, g.curl(v, "/b", &["-H", "x-ok: 1"]).status), (418, 200));
    assert_eq!(g.get(v, "/c").status, 200);
    assert_eq!(g.agent.disarm("f"), (2, 2));
}
