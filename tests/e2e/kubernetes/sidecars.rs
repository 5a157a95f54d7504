//! Sidecars beside applications on a real kubelet: pods become ready, traffic leads through them, and goes direct when they die.

use super::cluster::{Cluster, PATIENCE, manifest};
use crate::ground::{Daemon, Terminal, control_certificates, eventually, free_port};
use std::process::Command;
use std::time::{Duration, Instant};

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Whom pods see when the node asks: its end of their bridge.
const NODE: [&str; 2] = ["10.88.0.1", "fd88::1"];

/// A shop with a database, and what is in these manifests with a sidecar.
fn shop(manifests: &str) -> Option<Cluster> {
    let cluster = Cluster::start()?;
    cluster.must(&["create", "namespace", "shop"]);
    let token = format!("--from-literal=token={TOKEN}");
    cluster.must(&["create", "secret", "generic", "murphy-token", "-n", "shop", &token]);
    cluster.apply("shop", &manifest("tests/kubernetes/db.yaml"));
    cluster.ready("shop", "app=db");
    cluster.apply("shop", &cluster.with_sidecar(manifests));
    Some(cluster)
}

/// The addresses of a pod that has a sidecar.
fn addresses(cluster: &Cluster, pod: &str) -> [String; 2] {
    let four = cluster.field("shop", &format!("pod/{pod}"), ".status.podIP");
    let pid = sidecar(cluster, pod);
    let shown = cluster
        .on_node(&["nsenter", "-t", &pid, "-n", "ip", "-6", "-o", "address", "show", "scope", "global"]);
    let six =
        shown.out.split_whitespace().skip_while(|w| *w != "inet6").nth(1).and_then(|a| a.split('/').next());
    [four, six.unwrap_or_else(|| panic!("{shown:?}")).to_owned()]
}

/// The process of a pod's sidecar, as the node knows it.
fn sidecar(cluster: &Cluster, pod: &str) -> String {
    let uid = cluster.field("shop", &format!("pod/{pod}"), ".metadata.uid");
    let find = format!(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^/murphy sidecar run' && grep -q {uid} $p/cgroup && basename $p; done; true"
    );
    let done = cluster.on_node(&["sh", "-c", &find]);
    done.out.trim().to_owned()
}

/// An address with a port.
fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn who(cluster: &Cluster, address: &str) -> String {
    cluster.ask(&at(address, 8080), "/who").trim().replace('\n', " ")
}

/// Traffic in leads through the proxy: the application sees its own pod.
fn redirected(cluster: &Cluster, pod: &[String; 2]) -> bool {
    pod.iter().all(|address| who(cluster, address) == format!("200 OK {address}"))
}

fn direct(cluster: &Cluster, pod: &[String; 2]) -> bool {
    pod.iter().zip(NODE).all(|(address, node)| who(cluster, address) == format!("200 OK {node}"))
}

/// How long the database takes to answer the web server, in milliseconds.
fn database(cluster: &Cluster, address: &str) -> u64 {
    let said = cluster.ask(&at(address, 8080), "/db");
    let number = said.split_whitespace().last().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{said}"))
}

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn a_deployment_is_redirected_and_goes_direct_when_its_sidecar_dies() {
    let web = manifest("deploy/kubernetes/examples/redirect/shop.yaml").replace("replicas: 2", "replicas: 1");
    let Some(cluster) = shop(&web) else { return };
    cluster.ready("shop", "app=web");
    let name = cluster.must(&[
        "get",
        "pods",
        "-n",
        "shop",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let pod = addresses(&cluster, &name);
    assert!(
        eventually(PATIENCE, || redirected(&cluster, &pod)),
        "{} {}",
        who(&cluster, &pod[0]),
        who(&cluster, &pod[1])
    );
    let probe =
        cluster.field("shop", &format!("pod/{name}"), ".spec.containers[0].readinessProbe.httpGet.port");
    assert_eq!(probe, "15300");

    // Faults, armed from outside with the token, in both directions; the kubelet's probes do not see them.
    let door = format!("http://{}:15090", pod[0]);
    let token = cluster.place("token");
    std::fs::write(&token, TOKEN).unwrap();
    let murphy = |words: &[&str]| {
        let program = cluster.built("files/murphy/murphy");
        let all = [&[program.as_str()], words, &["--socket", &door, "--token-file", token.to_str().unwrap()]]
            .concat();
        let done = cluster.on_node(&all);
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        done.out
    };
    murphy(&["arm", "proxy:db", "latency", "delay=300ms", "--for", "60s"]);
    assert!(eventually(PATIENCE, || database(&cluster, &pod[0]) >= 299));
    murphy(&["arm", "proxy:site", "abort", "status=503", "--for", "60s"]);
    let refused = |ip: &String| cluster.ask(&at(ip, 8080), "/who").starts_with("503");
    assert!(eventually(PATIENCE, || pod.iter().all(refused)));
    let ready =
        || cluster.field("shop", &format!("pod/{name}"), ".status.conditions[?(@.type==\"Ready\")].status");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(25) {
        assert_eq!(ready(), "True", "a probe met a fault");
        std::thread::sleep(Duration::from_millis(500));
    }
    let service = cluster.field("shop", "service/web", ".spec.clusterIP");
    assert!(cluster.ask(&at(&service, 80), "/who").starts_with("503"), "by its service");
    murphy(&["disarm", "--all"]);
    assert!(redirected(&cluster, &pod));

    // Killed: direct. The kubelet starts it again: redirected.
    let restarts = || {
        cluster.field(
            "shop",
            &format!("pod/{name}"),
            ".status.containerStatuses[?(@.name==\"murphy\")].restartCount",
        )
    };
    let mut gone = f64::INFINITY;
    for round in 1..=3 {
        let victim = sidecar(&cluster, &name);
        assert_eq!(cluster.on_node(&["kill", "-9", &victim]).code, 0, "{victim}");
        let begun = Instant::now();
        assert!(eventually(PATIENCE, || direct(&cluster, &pod) || restarts() == round.to_string()));
        gone = gone.min(begun.elapsed().as_secs_f64());
        eprintln!("sidecar killed: direct, or there again, after {:.2} s", begun.elapsed().as_secs_f64());
        assert!(eventually(PATIENCE, || redirected(&cluster, &pod) && restarts() == round.to_string()));
        eprintln!("started by the kubelet and redirected after {:.1} s", begun.elapsed().as_secs_f64());
    }
    assert!(gone <= 2.0, "{gone}");
    console_and_forwards(&cluster, &token.to_string_lossy());
}

/// The pod of the only web server.
fn pod_of(cluster: &Cluster) -> String {
    let names = "jsonpath={.items[0].metadata.name}";
    cluster.must(&["get", "pods", "-n", "shop", "-l", "app=web", "-o", names])
}

/// `murphy tui --kube` and kubectl's own way, as someone who may do no more than the Role says.
fn console_and_forwards(cluster: &Cluster, token: &str) {
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/operators");
    // Its policy has a field that this server does not know.
    cluster.must(&["apply", "--validate=false", "-k", deploy]);
    let config = cluster.config("shopkeeper");
    let config = config.to_str().unwrap();
    let words =
        ["tui", "--kube", "app=web", "--kubeconfig", config, "--namespace", "shop", "--token-file", token];
    let mut console = Terminal::open(cluster.dir(), 140, 36, &words);
    console.see("proxy:site");
    drop(console);
    // As every other verb reaches it.
    let (_forward, port) = forward(cluster);
    let socket = format!("http://127.0.0.1:{port}");
    let list = || cluster.murphy(&["list", "--socket", &socket, "--token-file", token]);
    assert!(eventually(PATIENCE, || list().out.contains("proxy:db")), "{:?}", list());
    let done = cluster.murphy(&[
        "tui",
        "--kube",
        "app=web",
        "--kubeconfig",
        config,
        "--namespace",
        "default",
        "--token-file",
        token,
    ]);
    assert!(done.code == 5 && done.err.contains("403"), "{done:?}");
}

/// The control API over TLS, with the Secret of `operators-mtls` and an annotation: whoever shows a certificate has the role
/// that its name has, through port-forward as elsewhere.
#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn by_certificates() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.must(&["create", "namespace", "shop"]);
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes");
    let copy = cluster.dir().join("deploy");
    let done = Command::new("cp").args(["-r", deploy]).arg(&copy).status().unwrap();
    assert!(done.success());
    let here = copy.join("operators-mtls");
    control_certificates(&here, &["ada", "eve"]);
    cluster.must(&["apply", "--validate=false", "-k", here.to_str().unwrap()]);
    let asks = "tls-secret: murphy-tls\n        murphy.dev/roles: ada=admin,eve=viewer";
    let web = manifest("deploy/kubernetes/examples/redirect/shop.yaml").replace("replicas: 2", "replicas: 1");
    cluster.apply("shop", &cluster.with_sidecar(&web.replace("token-secret: murphy-token", asks)));
    cluster.ready("shop", "app=web");
    let at = |name: &str| here.join(name).to_str().unwrap().to_owned();
    let config = cluster.config("shopkeeper");
    let config = config.to_str().unwrap();
    let (ca, ada) = (at("ca.crt"), at("ada.pem"));
    let words = [
        "tui",
        "--kube",
        "app=web",
        "--kubeconfig",
        config,
        "--namespace",
        "shop",
        "--ca",
        &ca,
        "--cert",
        &ada,
    ];
    let mut console = Terminal::open(cluster.dir(), 140, 36, &words);
    console.see("proxy:site");
    drop(console);
    let (_forward, port) = forward(&cluster);
    let socket = format!("https://127.0.0.1:{port}");
    let as_one = |words: &[&str], cert: &str| {
        cluster.murphy(&[words, &["--socket", &socket, "--ca", &ca, "--cert", &at(cert)]].concat())
    };
    let arm = ["arm", "proxy:site", "latency", "delay=10ms", "--for", "5s"];
    assert!(eventually(PATIENCE, || as_one(&["list"], "eve.pem").out.contains("proxy:site")));
    let refused = as_one(&arm, "eve.pem");
    assert!(refused.code != 0 && refused.err.contains("viewer"), "{refused:?}");
    let done = as_one(&arm, "ada.pem");
    assert_eq!(done.code, 0, "{done:?}");
    let done = cluster.murphy(&["list", "--socket", &socket, "--ca", &ca]);
    assert!(done.code != 0 && done.out.is_empty(), "{done:?}");
}

/// `kubectl port-forward` to the control API of the web server's sidecar, as the shopkeeper; and the port here.
fn forward(cluster: &Cluster) -> (Daemon, u16) {
    let port = free_port();
    let mut forward = Command::new(cluster.built("kubectl/usr/bin/kubectl"));
    forward.arg("--kubeconfig").arg(cluster.config("shopkeeper")).args(["port-forward", "-n", "shop"]);
    forward.args([&pod_of(cluster), &format!("{port}:15090")]);
    (Daemon::start(forward, &cluster.dir().join("forward")), port)
}

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn other_kinds_and_what_would_not_end() {
    let Some(cluster) = shop(&manifest("tests/kubernetes/kinds.yaml")) else { return };
    for name in ["alone", "ordered-0", "ordered-1"] {
        assert!(
            eventually(PATIENCE, || cluster.kubectl(&["get", "-n", "shop", "pod", name]).code == 0),
            "{name}"
        );
        let ready = ["wait", "--for=condition=Ready", "-n", "shop", "--timeout=120s", &format!("pod/{name}")];
        assert_eq!(cluster.kubectl(&ready).code, 0, "{}", cluster.must(&["describe", "pods", "-n", "shop"]));
        let pod = addresses(&cluster, name);
        assert!(eventually(PATIENCE, || redirected(&cluster, &pod)), "{name}");
    }
    assert!(database(&cluster, &addresses(&cluster, "alone")[0]) < 5000);
    // What ends when its containers do would not, with a container that does not end.
    let job = cluster.dir().join("job.yaml");
    std::fs::write(&job, manifest("tests/kubernetes/job.yaml")).unwrap();
    let inject = |kind: &str| cluster.murphy(&["sidecar", "inject", kind, "-f", job.to_str().unwrap()]);
    let done = inject("--sidecar=container");
    assert!(done.code == 2 && done.err.contains("restartPolicy Never"), "{done:?}");
    // A native sidecar is nothing that this server knows, and kubectl says so before anything is made.
    let done = cluster.kubectl_in(&["apply", "-n", "shop", "-f", "-"], &inject("--sidecar=native").out);
    assert!(done.code != 0 && done.err.contains("restartPolicy"), "{done:?}");
    // What gets past kubectl, the server refuses.
    let past = ["apply", "-n", "shop", "--validate=false", "--dry-run=server", "-f", "-"];
    let done = cluster.kubectl_in(&past, &inject("--sidecar=native").out);
    assert!(done.code != 0 && done.err.contains("startupProbe"), "{done:?}");
}

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn without_capabilities_by_ports_of_its_own() {
    let Some(cluster) = Cluster::start() else { return };
    let (namespace, db) = ("shop-restricted", manifest("tests/kubernetes/db.yaml"));
    cluster.must(&["create", "namespace", namespace]);
    cluster.apply(namespace, &db);
    cluster.ready(namespace, "app=db");
    cluster.apply(
        namespace,
        &cluster.with_sidecar(&manifest("deploy/kubernetes/examples/restricted/shop.yaml")),
    );
    cluster.ready(namespace, "app=web");
    let service = cluster.field(namespace, "service/web", ".spec.clusterIP");
    assert!(eventually(PATIENCE, || cluster.ask(&at(&service, 80), "/who").trim() == "200 OK\n127.0.0.1"));
    let said = cluster.ask(&at(&service, 80), "/db");
    assert!(said.starts_with("200 OK\n10.88."), "{said}");
}
