//! Requests as the API and the command line show them; holding by hand; who asks most; stubs.

use super::{Ground, VERSIONS};
use crate::ground::{eventually, get};
use control::{HoldOrder, RequestQuery, TopBy};
use model::RequestState;
use std::time::Duration;

#[test]
fn a_live_list_says_what_was_decided_and_how_long_it_took() {
    let Some(g) = Ground::new() else { return };
    let list = |query: &RequestQuery| g.agent.ask(async |c| c.requests(query).await).unwrap();
    assert!(list(&RequestQuery::default()).requests.is_empty(), "nothing is kept before somebody looks");
    let id = g.agent.arm("proxy:web delay delay=30ms percent=50% when.path=/json");
    for v in VERSIONS {
        (0..10).for_each(|_| assert_eq!(g.get(v, "/json").status, 200));
        g.curl(v, "/echo", &["-d", "body"]);
    }
    let all = list(&RequestQuery::default()).requests;
    assert_eq!(all.len(), 22);
    assert_eq!(all.iter().filter(|r| r.http == "2").count(), 11);
    let (applied, considered) = g.agent.disarm(&id);
    let looked: Vec<_> = all.iter().flat_map(|r| r.faults.iter().map(move |f| (r, f))).collect();
    assert_eq!(
        (looked.len() as u64, looked.iter().filter(|(_, f)| f.applied).count() as u64),
        (considered, applied)
    );
    for (r, f) in looked {
        let draw = f.draw.unwrap();
        assert_eq!((f.taken, f.applied), (draw < 0.5, draw < 0.5), "{r:?}");
        assert!(r.total_ms >= r.injected_ms && r.upstream_ms.unwrap() > 0.0, "{r:?}");
        assert!(f.taken == (r.injected_ms > 29.0), "{r:?}");
    }
    let posted = all.iter().find(|r| r.method == "POST").unwrap();
    assert_eq!((posted.path.as_str(), posted.state, posted.bytes_up), ("/echo", RequestState::Done, 4));
    let some = list(&RequestQuery { text: "post /echo".into(), ..RequestQuery::default() });
    assert_eq!(some.total, 2);
    let said = g.agent.murphy(&["requests", "--fault"]);
    assert!(said.code == 0 && said.out.contains("delay*(0.") && !said.out.contains("POST"), "{said:?}");

    let routes = g.agent.ask(async |c| c.top(&"proxy:web".parse().unwrap(), TopBy::Route, 5).await).unwrap();
    assert_eq!((routes[0].key.as_str(), routes[0].requests), ("GET /json", 20), "{routes:?}");
    let said = g.agent.murphy(&["requests", "top", "proxy:web"]);
    assert!(said.out.contains("127.0.0.1"), "{said:?}");
}

#[test]
fn requests_are_held_by_hand_and_let_go() {
    let Some(g) = Ground::new() else { return };
    let order = |lease: &str| HoldOrder {
        target: "proxy:web".parse().unwrap(),
        when: Some("path=/json".parse().unwrap()),
        lease: Some(lease.parse().unwrap()),
    };
    let hold = g.agent.ask(async |c| c.hold_requests(&order("60s")).await).unwrap();
    let held = || {
        let query = RequestQuery { state: Some(RequestState::Held), ..RequestQuery::default() };
        g.agent.ask(async |c| c.requests(&query).await).unwrap().requests
    };
    let port = g.port;
    let asking = || std::thread::spawn(move || get(port, "/json").map(|a| a.status).unwrap_or(0));
    let (one, other) = (asking(), asking());
    assert_eq!(get(port, "/else").unwrap().status, 200, "what does not match passes");
    assert!(eventually(Duration::from_secs(20), || held().len() == 2), "{:?}", held());
    let id = held()[0].id;
    g.agent.ask(async |c| c.release_request(id).await).unwrap();
    assert!(eventually(Duration::from_secs(20), || held().len() == 1));
    assert!(g.agent.ask(async |c| c.release_request(id).await).is_err(), "it is not held any more");
    g.agent.ask(async |c| c.end_hold(hold.id).await).unwrap();
    assert_eq!((one.join().unwrap(), other.join().unwrap()), (200, 200));
    assert_eq!(get(port, "/json").unwrap().status, 200);

    // One whose client has left is held no more, even when its body was never read.
    g.agent.ask(async |c| c.hold_requests(&order("60s")).await).unwrap();
    let left = g.curl(VERSIONS[0], "/json", &["-d", "a body", "--max-time", "1"]);
    assert_eq!(left.exit, 28, "{left:?}");
    assert!(eventually(Duration::from_secs(20), || held().is_empty()), "{:?}", held());
    let holds = g.agent.ask(async |c| c.requests(&RequestQuery::default()).await).unwrap().holds;
    holds.iter().for_each(|hold| g.agent.ask(async |c| c.end_hold(hold.id).await).unwrap());

    // A lease ends by itself, and a halt ends everything.
    g.agent.ask(async |c| c.hold_requests(&order("300ms")).await).unwrap();
    assert_eq!(asking().join().unwrap(), 200);
    g.agent.ask(async |c| c.hold_requests(&order("60s")).await).unwrap();
    let waiting = asking();
    assert!(eventually(Duration::from_secs(20), || held().len() == 1));
    g.agent.ask(async |c| c.halt().await).unwrap();
    assert_eq!(waiting.join().unwrap(), 200);
    assert!(g.agent.ask(async |c| c.hold_requests(&order("60s")).await).is_err(), "halted");
}

#[test]
fn stubs_answer_in_the_place_of_a_service() {
    let Some(g) = Ground::new() else { return };
    let stubs: model::StubServer = serde_json::from_value(serde_json::json!({
        "name": "prices", "listen": "127.0.0.1:0",
        "stubs": [
            {"when": {"path": "/price/*"}, "headers": {"content-type": "application/json"}, "body": "{\"price\": 7}"},
            {"when": {"method": "POST"}, "status": 201, "delay": "50ms"},
        ],
    }))
    .unwrap();
    let open = g.agent.ask(async |c| c.open_stubs(&stubs).await).unwrap();
    let port: u16 = open.listen.unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let got = get(port, "/price/7").unwrap();
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"price": 7}"#));
    assert_eq!(get(port, "/else").unwrap().status, 404);
    let mut g = g;
    g.port = port;
    for v in VERSIONS {
        let got = g.curl(v, "/orders", &["-d", "an order"]);
        assert!(got.status == 201 && got.seconds >= 0.05, "{got:?}");
    }
    // Faults act on it as on any proxy.
    let id = g.agent.arm("proxy:prices abort status=500");
    assert_eq!(get(port, "/price/7").unwrap().status, 500);
    g.agent.disarm(&id);
}
