//! Agents on nodes: the DaemonSet of `deploy/kubernetes/node-agent`, and faults on a pod beside it.

use super::cluster::{Cluster, PATIENCE, manifest};
use crate::ground::eventually;

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn an_agent_on_its_node_reaches_a_pod_and_gives_it_back() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.must(&["create", "namespace", "shop"]);
    cluster.apply("shop", &manifest("tests/kubernetes/db.yaml"));
    cluster.ready("shop", "app=db");
    let deploy = |part: &str| format!("{}/deploy/kubernetes/{part}", env!("CARGO_MANIFEST_DIR"));
    cluster.must(&["apply", "-k", &deploy("node-agent")]);
    // Nowhere but where someone asked for it.
    assert_eq!(
        cluster.field("murphy-agents", "daemonset/murphy-agent", ".status.desiredNumberScheduled"),
        "0"
    );
    cluster.must(&["label", "node", "node", "murphy.dev/agent=true"]);
    cluster.must(&["rollout", "status", "-n", "murphy-agents", "daemonset/murphy-agent", "--timeout=120s"]);
    // The webhook's manifests leave the agents' namespace what it is.
    cluster.must(&["apply", "-k", &deploy("webhook")]);
    let level = |ns: &str| {
        cluster.field(
            ns,
            &format!("namespace/{ns}"),
            ".metadata.labels.pod-security\\.kubernetes\\.io/enforce",
        )
    };
    assert_eq!((level("murphy-agents").as_str(), level("murphy").as_str()), ("privileged", "restricted"));

    let murphy = |words: &[&str]| {
        let all =
            [&["exec", "-n", "murphy-agents", "daemonset/murphy-agent", "--", "/murphy"], words].concat();
        cluster.must(&all)
    };
    let find = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^/app db' && basename $p; done; true";
    let pid = cluster.on_node(&["sh", "-c", find]).out.trim().to_owned();
    let address = cluster.field("shop", "service/db", ".spec.clusterIP");
    let ask = || -> u64 {
        let app = cluster.built("files/app/app");
        let url = format!("DATABASE_URL=x://{address}:5432/");
        let done = cluster.on_node(&["env", &url, &app, "job", "1"]);
        let took = done.out.split_whitespace().last().and_then(|word| word.parse().ok());
        took.unwrap_or_else(|| panic!("{done:?}"))
    };
    assert!(eventually(PATIENCE, || ask() < 100));
    let process = format!("process:{pid}");
    let pod = format!(
        "cgroup:/kubepods/besteffort/pod{}",
        cluster.must(&["get", "pods", "-n", "shop", "-o", "jsonpath={.items[0].metadata.uid}"])
    );
    for (target, fault, slow) in [
        (&process, &["net_delay", "delay=200ms"][..], true),
        (&process, &["cgroup_squeeze", "cpu=0.05"], false),
        (&pod, &["cpu", "load=20%"], false),
        (&process, &["pause"], true),
    ] {
        let words = [&["arm", target], fault, &["--for", "4s"]].concat();
        murphy(&words);
        let took = ask();
        assert!(!slow || took >= 199, "{fault:?}: {took} ms");
        assert!(eventually(PATIENCE, || murphy(&["list"]).contains("nothing is armed")));
        assert!(eventually(PATIENCE, || ask() < 100), "{fault:?} stays");
    }
    // It is killed with a fault on: the next one takes it back.
    murphy(&["arm", &process, "net_delay", "delay=200ms", "--for", "1h"]);
    assert!(ask() >= 199);
    cluster.must(&[
        "delete",
        "pod",
        "-n",
        "murphy-agents",
        "-l",
        "app.kubernetes.io/name=murphy-agent",
        "--grace-period=0",
        "--force",
    ]);
    cluster.must(&["rollout", "status", "-n", "murphy-agents", "daemonset/murphy-agent", "--timeout=120s"]);
    assert!(eventually(PATIENCE, || ask() < 100), "{}", murphy(&["list"]));
}
