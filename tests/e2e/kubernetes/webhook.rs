//! The webhook in the real chain of admission.

use super::cluster::{Cluster, PATIENCE, manifest};
use crate::ground::eventually;
use std::time::{Duration, Instant};

const CONFIGURATION: &str = "mutatingwebhookconfiguration/murphy-sidecar";

/// A pod of that name that asks for murphy, with more in its spec.
fn pod(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels:\n    app: {name}\n    murphy.dev/inject: \"true\"\nspec:\n{spec}  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: registry.example/shop/web:1.0.0\n    ports:\n    - containerPort: 8080\n"
    )
}

/// The names of a pod's containers: those before the application, and those beside it.
fn containers(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    let names =
        |list: &str| cluster.field(namespace, &format!("pod/{pod}"), &format!(".spec.{list}[*].name"));
    format!("{} | {}", names("initContainers"), names("containers"))
}

const WITH: &str = "murphy-redirect | web murphy";

#[test]
#[ignore = "by hand: needs a cluster (tests/kubernetes/README.md)"]
fn pods_of_a_deployment_get_it_and_nothing_waits_for_it() {
    let Some(cluster) = Cluster::start() else { return };
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/webhook");
    // Twice, as people do.
    cluster.must(&["apply", "-k", deploy]);
    cluster.must(&["apply", "-k", deploy]);
    cluster.must(&["rollout", "status", "-n", "murphy", "deployment/murphy-webhook", "--timeout=120s"]);
    let believed = || cluster.field("murphy", CONFIGURATION, ".webhooks[0].clientConfig.caBundle");
    assert!(eventually(PATIENCE, || !believed().is_empty()), "{}", said(&cluster));
    eprintln!("{}", said(&cluster).trim());
    // Who applies the manifests anew does not take that away.
    cluster.must(&["apply", "-k", deploy]);
    assert!(!believed().is_empty());

    for namespace in ["shop", "other"] {
        cluster.must(&["create", "namespace", namespace]);
    }
    cluster.must(&["label", "namespace", "shop", "murphy.dev/inject=enabled"]);
    cluster.must(&[
        "create",
        "secret",
        "generic",
        "murphy-token",
        "-n",
        "shop",
        "--from-literal=token=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    let web = manifest("deploy/kubernetes/examples/redirect/shop.yaml");
    cluster.apply("shop", &(manifest("tests/kubernetes/db.yaml") + "---\n" + &web));
    cluster.ready("shop", "app=web");
    let names = cluster.must(&[
        "get",
        "pods",
        "-n",
        "shop",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ]);
    assert_eq!(names.split(' ').count(), 2, "{names}");
    for name in names.split(' ') {
        assert_eq!(containers(&cluster, "shop", name), WITH);
    }
    // Who does not ask does not get it, nor where the namespace does not.
    let database = cluster.must(&[
        "get",
        "pods",
        "-n",
        "shop",
        "-l",
        "app=db",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    assert_eq!(containers(&cluster, "shop", &database), " | db");
    cluster.apply("other", &pod("plain", ""));
    assert_eq!(containers(&cluster, "other", "plain"), " | web");
    // What is on its node's network cannot have it: it is made all the same, and kubectl says why.
    let done = cluster.apply("shop", &pod("host", "  hostNetwork: true\n"));
    assert!(done.err.contains("murphy is not injected") && done.err.contains("hostNetwork"), "{done:?}");
    assert_eq!(containers(&cluster, "shop", "host"), " | web");
    // A pod whose manifest has it already.
    let asks =
        pod("twice", "").replace("spec:\n", "  annotations:\n    murphy.dev/inject: \"true\"\nspec:\n");
    cluster.apply("shop", &cluster.with_sidecar(&asks));
    assert_eq!(containers(&cluster, "shop", "twice"), WITH);

    asked_again_by_another_configuration(&cluster);
    pods_start_without_it(&cluster);
    let gone = ["delete", "-k", deploy, "--timeout=60s"];
    assert_eq!(cluster.kubectl(&gone).code, 0);
}

fn said(cluster: &Cluster) -> String {
    cluster.kubectl(&["logs", "-n", "murphy", "deployment/murphy-webhook"]).err
        + &cluster.kubectl(&["logs", "-n", "murphy", "deployment/murphy-webhook"]).out
}

/// Two configurations name the same webhook, so that it is asked twice about each pod.
fn asked_again_by_another_configuration(cluster: &Cluster) {
    let text = cluster.must(&["get", CONFIGURATION, "-o", "json"]);
    let mut second: serde_json::Value = serde_json::from_str(&text).unwrap();
    second["metadata"] = serde_json::json!({"name": "murphy-again"});
    second["webhooks"][0]["failurePolicy"] = "Fail".into();
    cluster.apply("shop", &second.to_string());
    // Configurations take effect a moment later.
    let mut n = 0;
    let asked = eventually(PATIENCE, || {
        n += 1;
        let name = format!("again-{n}");
        let done = cluster.kubectl_in(
            &["create", "-n", "shop", "--dry-run=server", "-o", "json", "-f", "-"],
            &pod(&name, ""),
        );
        let made: serde_json::Value = serde_json::from_str(&done.out).unwrap_or_default();
        let count = |list: &str| made["spec"][list].as_array().map_or(0, Vec::len);
        assert_eq!((count("initContainers"), count("containers")), (1, 2), "{}", made["spec"]);
        n > 5
    });
    assert!(asked);
    cluster.must(&["delete", "mutatingwebhookconfiguration/murphy-again"]);
}

/// The webhook is away: pods are made at once, without murphy. When it is there again, with a new authority, they get it.
fn pods_start_without_it(cluster: &Cluster) {
    cluster.must(&["scale", "-n", "murphy", "deployment/murphy-webhook", "--replicas=0"]);
    let gone = [
        "wait",
        "--for=delete",
        "pod",
        "-n",
        "murphy",
        "-l",
        "app.kubernetes.io/name=murphy-webhook",
        "--timeout=90s",
    ];
    cluster.must(&gone);
    let begun = Instant::now();
    cluster.apply("shop", &pod("without", ""));
    eprintln!("made without the webhook after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert_eq!(containers(cluster, "shop", "without"), " | web");
    let before = cluster.field("murphy", CONFIGURATION, ".webhooks[0].clientConfig.caBundle");
    cluster.must(&["scale", "-n", "murphy", "deployment/murphy-webhook", "--replicas=1"]);
    let anew = eventually(PATIENCE, || {
        cluster.field("murphy", CONFIGURATION, ".webhooks[0].clientConfig.caBundle") != before
    });
    assert!(anew, "{}", said(cluster));
    let mut n = 0;
    let with = eventually(PATIENCE, || {
        n += 1;
        cluster.apply("shop", &pod(&format!("with-{n}"), ""));
        containers(cluster, "shop", &format!("with-{n}")) == WITH
    });
    assert!(with, "{}", said(cluster));
}
