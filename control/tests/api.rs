//! The whole API through real sockets, by the typed client.

mod support;

use control::Role;
use control::wire::{Change, StartRun};
use control::{ClientError, Close, Code, ConnectionQuery, Signal, Sort};
use futures::StreamExt;
use model::EventKind;
use model::event::{Ending, Level};
use model::units::Span;
use std::time::Duration;
use support::{Agent, latency};

#[tokio::test]
async fn a_fault_from_plan_to_disarm() {
    let agent = Agent::start().await;
    let client = agent.client();
    let status = client.status().await.unwrap();
    assert_eq!((status.agent.agent.as_str(), status.agent.armed, status.role()), ("edge-1", 0, Role::Admin));
    assert_eq!(client.targets().await.unwrap()[0].target.to_string(), "proxy:cart");

    let plan = client.plan(&latency()).await.unwrap();
    assert_eq!(plan.acts.len(), 1);
    assert!(client.faults().await.unwrap().is_empty(), "a plan touches nothing");

    let armed = client.arm(&latency(), Some(Span::secs(15))).await.unwrap();
    assert_eq!((armed.id.as_str(), armed.lease), ("f1", Some(Span::secs(15))));
    assert!(armed.by.contains("(uid "), "{}", armed.by);
    let change: Change = serde_json::from_str(r#"{"inject": {"jitter": "40ms"}}"#).unwrap();
    let adjusted = client.adjust("f1", &change).await.unwrap();
    assert_eq!(adjusted.fault.describe(), "latency 120ms±40ms");
    assert_eq!(client.renew("f1").await.unwrap().id, "f1");
    assert_eq!(client.faults().await.unwrap().len(), 1);
    assert_eq!(client.disarm("f1").await.unwrap().target.to_string(), "proxy:cart");
    let gone = client.disarm("f1").await.unwrap_err();
    assert_eq!(gone.code(), Some(Code::NotFound));
    assert!(gone.to_string().contains("murphy list"));

    let audit: Vec<(String, u16)> =
        agent.memory.state().audit.iter().map(|a| (a.action.clone(), a.status)).collect();
    let want = [("arm", 200), ("adjust", 200), ("renew", 200), ("disarm", 200), ("disarm", 404)];
    assert_eq!(audit, want.map(|(a, s)| (a.to_owned(), s)));
    let state = agent.memory.state();
    assert_eq!(state.audit[0].what, "latency 120ms on proxy:cart");
    assert!(state.audit[0].caller.pid.is_some() && state.audit[0].caller.uid.is_some());
}

#[tokio::test]
async fn halted_means_nothing_can_be_armed_until_it_is_lifted() {
    let agent = Agent::start().await;
    let client = agent.client();
    client.arm(&latency(), None).await.unwrap();
    assert_eq!(client.halt().await.unwrap().faults, ["f1"]);
    assert!(client.halt().await.unwrap().faults.is_empty(), "halting again is no error");
    let refused = client.arm(&latency(), None).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Halted));
    assert!(refused.to_string().contains("murphy halt --lift"), "{refused}");
    client.lift().await.unwrap();
    assert_eq!(client.lift().await.unwrap_err().code(), Some(Code::Conflict));
    client.arm(&latency(), None).await.unwrap();
}

#[tokio::test]
async fn roles_over_tcp_without_a_token_a_viewer_may_look_plan_and_halt() {
    let agent = Agent::start().await;
    let client = agent.tcp();
    assert_eq!(client.status().await.unwrap().role(), Role::Viewer);
    client.plan(&latency()).await.unwrap();
    let refused = client.arm(&latency(), None).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Forbidden));
    assert!(refused.to_string().contains("arm needs the role operator"), "{refused}");
    agent.client().arm(&latency(), None).await.unwrap();
    assert_eq!(client.disarm("f1").await.unwrap_err().code(), Some(Code::Forbidden));
    assert_eq!(client.halt().await.unwrap().faults, ["f1"]);
    assert_eq!(client.lift().await.unwrap_err().code(), Some(Code::Forbidden));
}

#[tokio::test]
async fn runs_targets_catalogue_and_doctor() {
    let agent = Agent::start().await;
    let client = agent.client();
    assert_eq!(client.run().await.unwrap_err().code(), Some(Code::NotFound));
    let run = StartRun { yaml: "murphy: 1".into(), file: Some("a.yaml".into()), ..StartRun::default() };
    assert_eq!(client.start_run(&run).await.unwrap().phase, "baseline");
    let broken = StartRun { yaml: "stagse: []".into(), ..StartRun::default() };
    assert!(client.start_run(&broken).await.unwrap_err().to_string().contains("did you mean stages?"));
    assert_eq!(client.end_run().await.unwrap().verdict.as_deref(), Some("aborted"));
    let target = serde_json::from_str(r#"{"name": "/srv/a b", "node": {}}"#).unwrap();
    client.open_target(&target).await.unwrap();
    client.close_target(&"node:/srv/a b".parse().unwrap()).await.unwrap();
    assert!(client.close_target(&"node:/srv/a b".parse().unwrap()).await.is_err());
    assert!(client.catalogue().await.unwrap().iter().any(|e| e.name == "latency"));
    assert!(client.doctor().await.unwrap()[0].ok);
}

#[tokio::test]
async fn connections_are_seen_by_viewers_and_changed_by_operators() {
    let agent = Agent::start().await;
    let view = |id: u64| {
        serde_json::from_value(serde_json::json!({
            "id": id, "target": "proxy:cart", "client": "10.0.0.1:4", "age_ms": 100 * id, "bytes_up": id, "bytes_down": 0,
            "state": "open", "faults": [{"id": "f1", "fault": "latency", "applied": true}],
        }))
    };
    agent.memory.state().connections = (1..=3).map(|id| view(id).unwrap()).collect();
    let (client, viewer) = (agent.client(), agent.tcp());
    let query = ConnectionQuery {
        target: Some("proxy:cart".parse().unwrap()),
        fault: true,
        text: "10.0 latency".into(),
        sort: Sort::Bytes,
        limit: 2,
    };
    let list = viewer.connections(&query).await.unwrap();
    assert_eq!((list.total, list.held, list.connections.len()), (3, 0, 2));
    assert_eq!(list.connections[0].id, 3);
    for refused in [
        viewer.hold_connection(1, None).await,
        viewer.release_connection(1).await,
        viewer.close_connection(1, Close::Rst).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), Some(Code::Forbidden));
    }
    client.hold_connection(1, None).await.unwrap();
    assert_eq!(viewer.connections(&ConnectionQuery::default()).await.unwrap().held, 1);
    client.release_connection(1).await.unwrap();
    assert_eq!(client.release_connection(1).await.unwrap_err().code(), Some(Code::Conflict));
    client.close_connection(1, Close::Fin).await.unwrap();
    let gone = client.close_connection(1, Close::Rst).await.unwrap_err();
    assert!(gone.to_string().contains("no open connection has the number 1"), "{gone}");
    let long = client.hold_connection(2, Some("2h".parse().unwrap())).await.unwrap_err();
    assert!(long.to_string().contains("cannot be held for 2h"), "{long}");
    let actions: Vec<(String, u16)> =
        agent.memory.state().audit.iter().map(|a| (format!("{} {}", a.action, a.what), a.status)).collect();
    assert!(actions.contains(&("hold_connection 1".into(), 200)), "{actions:?}");
    assert!(actions.contains(&("close_connection 1".into(), 403)), "{actions:?}");
    for path in [
        "connections?how=rst",
        "connections?sort=size",
        "connections?limit=1000000",
        "connections?target=web",
    ] {
        let answer = agent.request(&format!("GET /api/v1/{path}"), &[], "").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn impossible_faults_are_refused_with_all_their_problems() {
    let agent = Agent::start().await;
    let mut fault = latency();
    fault.target = "node:self".parse().unwrap();
    fault.lasts = None;
    let refused = agent.client().arm(&fault, None).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Impossible));
    let text = refused.to_string();
    assert!(text.contains("cannot be armed on node:self") && text.contains("has no end"), "{text}");
}

fn note(text: &str) -> EventKind {
    EventKind::Note { level: Level::Info, text: text.into() }
}

async fn next(stream: &mut futures::stream::BoxStream<'static, Signal>) -> Signal {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("an event in time").unwrap()
}

#[tokio::test]
async fn events_go_on_after_the_connection_broke_and_begin_anew_with_a_new_agent() {
    let mut agent = Agent::start().await;
    let mut events = agent.client().events(Some(0));
    assert_eq!(next(&mut events).await, Signal::Connected { fresh: true });
    assert!(matches!(next(&mut events).await, Signal::Event(e) if e.seq == 1));
    agent.memory.event(note("two"));
    assert!(matches!(next(&mut events).await, Signal::Event(e) if e.seq == 2));

    // The server ends and another one comes: a new life, whose history is read from its beginning.
    agent.server.take().unwrap().stop().await;
    let Signal::Lost(why) = next(&mut events).await else { panic!("not lost") };
    assert!(matches!(why, ClientError::Lost { .. }), "{why:?}");
    agent.memory.event(note("three"));
    let options = control::Options {
        socket: Some(control::SocketOptions::new(agent.dir.path().join("run/murphy.sock"))),
        tcp: None,
    };
    agent.server = Some(control::Server::start(options, agent.memory.clone()).await.unwrap());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match next(&mut events).await {
            Signal::Lost(_) => assert!(seen.is_empty()),
            Signal::Connected { fresh } => {
                assert!(fresh);
                seen.push(0);
            }
            Signal::Event(e) => seen.push(e.seq),
        }
    }
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_late_reader_gets_history_and_one_without_a_number_only_what_comes() {
    let agent = Agent::start().await;
    agent.client().arm(&latency(), None).await.unwrap();
    agent.memory.end("f1", Ending::Elapsed);
    let mut all = agent.client().events(Some(0));
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        if let Signal::Event(e) = next(&mut all).await {
            kinds.push(e.seq);
        }
    }
    assert_eq!(kinds, [1, 2, 3]);
    let mut live = agent.client().events(None);
    assert_eq!(next(&mut live).await, Signal::Connected { fresh: true });
    agent.memory.event(note("now"));
    assert!(matches!(next(&mut live).await, Signal::Event(e) if e.seq == 4));
}
