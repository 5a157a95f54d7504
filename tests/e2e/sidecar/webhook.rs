//! The admission webhook over real TLS, as the API server asks it.

use crate::ground::{TempDir, eventually, murphy_in, need, program};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Webhook {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Webhook {
    fn start(more: &[&str]) -> Option<Webhook> {
        if !need("curl and openssl", program("curl", &[]).is_some() && program("openssl", &[]).is_some()) {
            return None;
        }
        let dir = TempDir::new();
        let mut command = murphy_in(dir.path());
        command
            .args(["sidecar", "webhook", "--listen", "127.0.0.1:0", "--name", "hook.murphy.svc"])
            .args(["--ca-out", "ca.pem", "--certs", "certs", "--image", "reg.example/murphy:1"])
            .args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        Some(Webhook { child, dir, port: port.unwrap_or_else(|| panic!("{line}")) })
    }

    /// curl, which believes the authority and nobody else; its exit code and what came back.
    fn curl(&self, host: &str, path: &str, body: Option<&Value>) -> (i32, String) {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-m", "20", "--cacert"])
            .arg(self.dir.path().join("ca.pem"))
            .args(["--connect-to", &format!("::127.0.0.1:{}", self.port)])
            .arg(format!("https://{host}{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if body.is_some() {
            command.args(["-H", "content-type: application/json", "--data-binary", "@-"]);
        }
        let mut child = command.spawn().unwrap();
        let text = body.map_or(String::new(), Value::to_string);
        // A server that refuses does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        let done = child.wait_with_output().unwrap();
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn review(&self, pod: &Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        }});
        let (code, said) = self.curl("hook.murphy.svc", "/mutate", Some(&review));
        assert_eq!(code, 0, "{said}");
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_eq!(answer["response"]["allowed"], true);
        answer["response"].clone()
    }

    /// The certificate that is shown, as its serial number.
    fn serial(&self) -> String {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{} -servername hook.murphy.svc </dev/null 2>/dev/null | openssl x509 -noout -serial",
            self.port
        );
        let done = Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
    "metadata": {"generateName": "web-5d9f-", "labels": {"app": "web", "murphy.dev/inject": "true"}, "annotations": {"murphy.dev/outbound": "db=5432"}},
    "spec": {
        "containers": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1},
            "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        "volumes": [{"name": "kube-api-access-x", "projected": {"sources": []}}],
        "restartPolicy": "Always", "serviceAccountName": "default",
    }})
}

/// The object after a patch: RFC 6902's add, replace and remove.
fn patched(object: &Value, response: &Value) -> Value {
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
    let mut whole = object.clone();
    for op in patch {
        let (parent, last) = op["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match (op["op"].as_str().unwrap(), whole.pointer_mut(parent).unwrap()) {
            ("add", Value::Array(items)) => items.insert(last.parse().unwrap(), op["value"].clone()),
            ("add" | "replace", Value::Object(map)) => drop(map.insert(last, op["value"].clone())),
            ("remove", Value::Object(map)) => drop(map.remove(&last).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    whole
}

#[test]
fn pods_that_ask_get_it_when_they_are_made() {
    let Some(hook) = Webhook::start(&[]) else { return };
    let response = hook.review(&pod());
    assert_eq!(response["patchType"], "JSONPatch");
    let after = patched(&pod(), &response);
    let init: Vec<_> =
        after["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(init, ["murphy-redirect", "murphy"]);
    assert_eq!(after["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert_eq!(after["spec"]["initContainers"][1]["image"], "reg.example/murphy:1");
    assert_eq!(after["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"], 15300);
    assert_eq!(after["spec"]["volumes"][1], pod()["spec"]["volumes"][0]);
    // Asked again, as after another webhook, it has nothing to say; taken out, the pod is what it was.
    assert_eq!(hook.review(&after), json!({"uid": response["uid"], "allowed": true}));
    let back = pods::manifest::uninject(&after.to_string()).text;
    assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), pod());
    // Who does not ask, or cannot.
    let mut other = pod();
    other["metadata"]["labels"]["murphy.dev/inject"] = "false".into();
    assert!(hook.review(&other)["patch"].is_null());
    let mut host = pod();
    host["spec"]["hostNetwork"] = true.into();
    let warned = hook.review(&host);
    assert!(
        warned["patch"].is_null() && warned["warnings"][0].as_str().unwrap().contains("hostNetwork"),
        "{warned}"
    );

    assert_eq!(hook.curl("hook.murphy.svc", "/healthz", None), (0, "ok\n".into()));
    // Its certificate is for its name alone (60: curl could not verify it), and plain HTTP is no answer.
    assert_eq!(hook.curl("other.svc", "/healthz", None).0, 60);
    assert!(
        hook.curl("hook.murphy.svc", "/mutate", Some(&json!({"kind": "Pod"})))
            .1
            .contains("no AdmissionReview")
    );
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", hook.port)).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}

#[test]
fn before_native_sidecars_pods_get_a_container_after_their_others() {
    let Some(hook) = Webhook::start(&["--sidecar", "container"]) else { return };
    let response = hook.review(&pod());
    let after = patched(&pod(), &response);
    let names = |list: &str| -> Vec<String> {
        let items = after["spec"][list].as_array().unwrap().iter();
        items.map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names("initContainers"), names("containers")),
        (vec!["murphy-redirect".into()], vec!["web".into(), "murphy".into()])
    );
    assert!(after["spec"]["containers"][1]["restartPolicy"].is_null(), "{after}");
    assert!(hook.review(&after)["patch"].is_null());
    // The pod of a Job would not end.
    let mut ends = pod();
    ends["spec"]["restartPolicy"] = "Never".into();
    let warned = hook.review(&ends);
    assert!(
        warned["patch"].is_null() && warned["warnings"][0].as_str().unwrap().contains("native"),
        "{warned}"
    );
}

#[test]
fn certificates_are_made_anew_under_the_same_authority() {
    let Some(hook) = Webhook::start(&["--lifetime", "3s"]) else { return };
    let first = hook.serial();
    assert!(first.starts_with("serial="), "{first}");
    assert!(eventually(Duration::from_secs(30), || {
        let now = hook.serial();
        now.starts_with("serial=") && now != first
    }));
    assert_eq!(hook.curl("hook.murphy.svc", "/healthz", None).0, 0);
    let key = hook.dir.path().join("certs/ca.key");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(key).unwrap()) & 0o777, 0o600);
}

#[test]
fn without_a_cluster_it_says_what_is_missing() {
    let dir = TempDir::new();
    let done = crate::ground::murphy(
        dir.path(),
        &["sidecar", "webhook", "--listen", "127.0.0.1:0", "--configure", "murphy"],
    );
    assert!(done.code == 5 && done.err.contains("service account"), "{done:?}");
    assert!(Path::new(&dir.path().join("state/webhook/ca.key")).exists());
}
