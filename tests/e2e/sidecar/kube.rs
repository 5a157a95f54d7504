//! Sidecars reached through the API server, and one attached to a pod that runs. The API server is a stand-in.

use super::pod::PATIENCE;
use crate::ground::{
    Finished, TempDir, Terminal, client, control_certificates, eventually, free_port, murphy, murphy_in,
    need, program, run,
};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Killed at the end.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, port: u16) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        assert!(eventually(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()), "port {port}");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster {
    dir: TempDir,
    state: PathBuf,
    config: String,
    token: String,
    _running: [Running; 2],
}

/// A cluster with two pods of a shop, of which one has a sidecar, and another.
fn cluster() -> Option<Cluster> {
    cluster_with(false)
}

/// The same, whose sidecar asks for a token or, with TLS, for certificates.
fn cluster_with(tls: bool) -> Option<Cluster> {
    let mut stand_in = client("kubernetes", "apiserver.py")?;
    let dir = TempDir::new();
    let secret = control::Token::generate().unwrap();
    let token = dir.file("token", secret.reveal()).to_str().unwrap().to_owned();
    let (api, control, proxy) = (free_port(), free_port(), free_port());
    let pod = |name: &str, app: &str, more: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}]}, "status": {"phase": "Running"}});
        pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod
    };
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (at("tls.crt"), at("tls.key"), at("ca.crt"));
    let asks = match tls {
        false => ["--token-file", &token].map(str::to_owned).to_vec(),
        true => {
            control_certificates(dir.path(), &["ada"]);
            vec![format!("--tls-cert={cert}"), format!("--tls-key={key}"), format!("--tls-client-ca={ca}")]
        }
    };
    let sidecar = json!({"initContainers": [{"name": "murphy", "image": "murphy:1", "args": asks}]});
    let pods = [
        pod("web-1", "web", if tls { sidecar } else { json!({}) }),
        pod("web-2", "web", json!({})),
        pod("db-1", "db", json!({"hostNetwork": true})),
        pod("job-1", "job", json!({})),
    ];
    let state = dir.file(
        "state.json",
        &json!({"token": "who-i-am", "pods": pods, "ports": {"web-1": control}, "forbidden": ["db-1"]})
            .to_string(),
    );
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts: [{{name: here, context: {{cluster: here, user: me, namespace: shop}}}}, {{name: stranger, context: {{cluster: here, namespace: shop}}}}]\nclusters: [{{name: here, cluster: {{server: 'http://127.0.0.1:{api}'}}}}]\nusers: [{{name: me, user: {{token: who-i-am}}}}]\n"
    );
    let config = dir.file("kubeconfig", &config).to_str().unwrap().to_owned();
    let mut sidecar = murphy_in(dir.path());
    sidecar
        .args(["sidecar", "run", "--listen", &format!("127.0.0.1:{control}")])
        .args(&asks)
        .args(["--proxy", &format!("site=127.0.0.1:{proxy},127.0.0.1:1")]);
    let running = [
        Running::start(stand_in.arg(api.to_string()).arg(&state), api),
        Running::start(&mut sidecar, control),
    ];
    Some(Cluster { dir, state, config, token, _running: running })
}

impl Cluster {
    fn murphy(&self, args: &[&str]) -> Finished {
        murphy(self.dir.path(), &[args, &["--kubeconfig", &self.config]].concat())
    }

    fn containers(&self, pod: usize) -> Vec<Value> {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&self.state).unwrap()).unwrap();
        state["pods"][pod]["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn the_console_finds_sidecars_by_their_labels() {
    let Some(cluster) = cluster() else { return };
    let words = ["tui", "--kube", "app=web", "--kubeconfig", &cluster.config, "--token-file", &cluster.token];
    let mut console = Terminal::open(cluster.dir.path(), 140, 36, &words);
    console.see("proxy:site");
    drop(console);
    // What cannot be is told before the console opens.
    for (args, want) in [
        (&["tui", "--kube", "app=none", "--token-file", &cluster.token][..], "no pod runs in namespace shop"),
        (&["tui", "--kube", "app=web"], "--token-file"),
        (&["tui", "--kube", "app=db", "--token-file", &cluster.token], "403"),
        (&["tui", "--kube", "app=web", "--token-file", &cluster.token, "--context", "stranger"], "401"),
        (
            &["tui", "--kube", "app=web", "--token-file", &cluster.token, "--context", "nowhere"],
            "no context named",
        ),
        // Nobody serves there.
        (
            &["tui", "--kube", "app=job", "--token-file", &cluster.token],
            "port 15090 of the pod job-1 was not reached",
        ),
    ] {
        let done = cluster.murphy(args);
        assert!(done.code != 0 && done.err.contains(want), "{args:?}: {done:?}");
    }
}

#[test]
fn the_console_shows_sidecars_its_certificate() {
    if !need("the program openssl", program("openssl", &[]).is_some()) {
        return;
    }
    let Some(cluster) = cluster_with(true) else { return };
    let at = |name: &str| cluster.dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, ada) = (at("ca.crt"), at("ada.pem"));
    let words = ["tui", "--kube", "app=web", "--kubeconfig", &cluster.config, "--ca", &ca, "--cert", &ada];
    let mut console = Terminal::open(cluster.dir.path(), 140, 36, &words);
    console.see("proxy:site");
}

#[test]
fn a_pod_that_runs_gets_it_attached() {
    let Some(cluster) = cluster() else { return };
    let done = cluster.murphy(&[
        "attach",
        "web-1",
        "--outbound",
        "db=5432",
        "--token-secret",
        "murphy",
        "--for",
        "30m",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.out.contains("port 8080 → proxy:in-8080") && done.out.contains("port 5432 → proxy:db"),
        "{}",
        done.out
    );
    let made = cluster.containers(0);
    let args: Vec<_> = made[0]["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(made.len() == 1 && args.contains(&"--owned") && args.contains(&"--for=30m"), "{made:?}");
    // An API server from before 1.22 takes them in another shape.
    let mut state: Value = serde_json::from_str(&std::fs::read_to_string(&cluster.state).unwrap()).unwrap();
    let mut become_old = |old: Value| {
        state["old"] = old;
        std::fs::write(&cluster.state, state.to_string()).unwrap();
    };
    become_old("refuses".into());
    let done = cluster.murphy(&["attach", "web-2"]);
    assert!(
        done.code == 5 && done.err.contains("since 1.23") && cluster.containers(1).is_empty(),
        "{done:?}"
    );
    become_old(true.into());
    let done = cluster.murphy(&["attach", "web-2"]);
    assert!(done.code == 0 && cluster.containers(1).len() == 1, "{done:?}");
    // As it was.
    become_old(Value::Null);
    for (args, want) in [
        (&["attach", "web-1"][..], "attached to web-1 already"),
        (&["attach", "web-2", "--image", "reg.example/missing"], "ErrImagePull"),
        (&["attach", "db-1"], "hostNetwork"),
        (&["attach", "none"], "not found"),
        (&["attach", "web-2", "--inbound", "none"], "no port is named"),
        (&["attach", "web-2", "--mode", "explicit"], "by redirect"),
    ] {
        let done = cluster.murphy(args);
        assert!(done.code != 0 && done.err.contains(want), "{args:?}: {done:?}");
    }
    // The pod with it is one that Kubernetes takes.
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}, "spec": {"containers": [{"name": "web"}]}});
    pod["spec"]["ephemeralContainers"] = made.into();
    let file = cluster.dir.file("pod.json", &pod.to_string());
    let done = run(client("kubernetes", "validate.py").unwrap().arg(file));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
}
