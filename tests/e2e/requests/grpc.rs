//! gRPC, with grpcio on both sides.

use crate::ground::{Agent, Peer, free_port, run};

#[test]
fn calls_pass_and_end_with_the_status_that_was_armed() {
    let Some(server) = Peer::start("http", "grpc_peer.py", &["serve"]) else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", server.port)]);
    let call = |method: &str, text: &str| {
        let done = run(server.script().args(["call", &port.to_string(), method, text]));
        assert_eq!(done.code, 0, "{done:?}");
        done.out.trim().replace('\n', " ")
    };
    assert_eq!((call("Upper", "hello"), call("Count", "4")), ("HELLO OK".into(), "0 1 2 3 OK".into()));

    let with = |fault: &str, does: &dyn Fn() -> String| {
        let id = agent.arm(&format!("proxy:web {fault}"));
        let said = does();
        (said, agent.disarm(&id).0)
    };
    let upper = || call("Upper", "hello");
    assert_eq!(with("grpc_status code=NOT_FOUND message=nowhere", &upper), ("NOT_FOUND nowhere".into(), 1));
    assert_eq!(with("grpc_status code=UNAVAILABLE when.grpc_method=Other", &upper), ("HELLO OK".into(), 0));
    assert_eq!(with("grpc_status when.grpc_service=shop.* when.grpc_method=Upper", &upper).1, 1);
    let (said, applied) = with("grpc_status code=DATA_LOSS after=2", &|| call("Count", "5"));
    assert_eq!((said.split(' ').collect::<Vec<_>>()[..3].join(" "), applied), ("0 1 DATA_LOSS".into(), 1));
    // A request is no call when it is not gRPC's, and an HTTP status becomes one of gRPC's.
    assert!(with("abort status=503", &upper).0.starts_with("UNAVAILABLE"));
    assert!(with("h2_reset code=CANCEL", &upper).0.starts_with("CANCELLED"));
    assert_eq!(call("Count", "3"), "0 1 2 OK");
}
