//! The control API of sidecars by certificates: a Secret that a real kubelet mounts, and renews.

use super::cluster::{Cluster, PATIENCE, manifest};
use crate::ground::{Daemon, Terminal, control_overlay, eventually, free_port, need, program};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a kubelet may take until a Secret's files are new: it looks once a minute.
const RENEWAL: Duration = Duration::from_secs(240);

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn a_secret_opens_the_control_api_and_the_kubelet_renews_it() {
    if !need("the program openssl", program("openssl", &[]).is_some()) {
        return;
    }
    let Some(cluster) = Cluster::start() else { return };
    cluster.must(&["create", "namespace", "shop"]);
    // Its policy has a field that this server does not know.
    let apply = |overlay: &str| cluster.must(&["apply", "--validate=false", "-k", overlay]);
    let first = control_overlay(&cluster.dir().join("first"), &["ada", "ci"]);
    let first = first.to_str().unwrap();
    apply(first);
    cluster.apply("shop", &manifest("tests/kubernetes/db.yaml"));
    cluster.ready("shop", "app=db");
    let asks = "murphy.dev/tls-secret: murphy-tls\n        murphy.dev/roles: ada=operator,ci=viewer";
    let web = manifest("deploy/kubernetes/examples/redirect/shop.yaml")
        .replace("replicas: 2", "replicas: 1")
        .replace("murphy.dev/token-secret: murphy-token", asks);
    cluster.apply("shop", &cluster.with_sidecar(&web));
    cluster.ready("shop", "app=web");

    // The console, as someone who may do no more than the Role says.
    let config = cluster.config("shopkeeper");
    let config = config.to_str().unwrap();
    let shown = |of: &str, who: &str| [format!("{of}/ca.crt"), format!("{of}/{who}.pem")];
    let [ca, ada] = shown(first, "ada");
    let words = ["tui", "--kube", "app=web", "--kubeconfig", config, "--namespace", "shop"];
    let words = [&words[..], &["--ca", &ca, "--cert", &ada]].concat();
    let mut console = Terminal::open(cluster.dir(), 140, 36, &words);
    console.see("proxy:site");
    drop(console);

    // Every other verb, by kubectl's way to the pod's loopback.
    let pod = ["get", "pods", "-n", "shop", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"];
    let port = free_port();
    let mut forward = Command::new(cluster.built("kubectl/usr/bin/kubectl"));
    forward
        .args(["--kubeconfig", config, "port-forward", "-n", "shop"])
        .args([&cluster.must(&pod), &format!("{port}:15090")]);
    let _forward = Daemon::start(forward, &cluster.dir().join("forward"));
    let socket = format!("https://localhost:{port}");
    let murphy = |of: &str, who: &str, words: &[&str]| {
        let [ca, cert] = shown(of, who);
        cluster.murphy(&[words, &["--socket", &socket, "--ca", &ca, "--cert", &cert]].concat())
    };
    let list = |of: &str| murphy(of, "ada", &["list"]);
    assert!(eventually(PATIENCE, || list(first).out.contains("proxy:db")), "{:?}", list(first));
    let arm = ["arm", "proxy:db", "latency", "delay=1ms", "--for", "60s"];
    let refused = murphy(first, "ci", &arm);
    assert!(refused.code != 0 && refused.err.contains("ci (certificate) is viewer"), "{refused:?}");
    assert_eq!(murphy(first, "ada", &arm).code, 0);

    // Another authority: the pod is not told, the kubelet swaps the files below it.
    let second = control_overlay(&cluster.dir().join("second"), &["ada"]);
    let second = second.to_str().unwrap();
    apply(second);
    let begun = Instant::now();
    assert!(eventually(RENEWAL, || list(second).code == 0), "{:?}", list(second));
    eprintln!("a new Secret is shown after {:.0} s", begun.elapsed().as_secs_f64());
    let old = list(first);
    assert!(old.code != 0 && old.err.contains("is not signed by the authority in"), "{old:?}");
    // What was armed before is armed still: nothing was started anew.
    let restarts = ".status.containerStatuses[?(@.name==\"murphy\")].restartCount";
    assert_eq!(cluster.field("shop", &format!("pod/{}", cluster.must(&pod)), restarts), "0");
}
