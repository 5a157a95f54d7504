//! Manifests in the shapes that public charts render, with the sidecar and without it again; checked by the schemas of
//! Kubernetes.

use crate::ground::{TempDir, client, murphy, murphy_in, run};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn manifests() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sidecar/manifests");
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= 30, "{}", all.len());
    all
}

#[test]
fn charts_get_it_and_give_it_back() {
    let dir = TempDir::new();
    let (mut injected, mut pairs, mut bytes, mut ends) = (Vec::new(), Vec::new(), 0, 0);
    for file in manifests() {
        let (name, source) =
            (file.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&file).unwrap());
        let change = |verb: &str, text: &str| {
            let input = dir.file("input", text);
            let mut args = vec!["sidecar", verb, "-f", input.to_str().unwrap()];
            args.extend((verb == "inject").then_some("--all"));
            let done = murphy(dir.path(), &args);
            assert_eq!(done.code, 0, "{name}: {}", done.err);
            done
        };
        let once = change("inject", &source);
        assert!(once.err.contains(": injected; "), "{name}: {}", once.err);
        assert_eq!(change("inject", &once.out).out, once.out, "{name}: twice is once");
        let back = change("uninject", &once.out).out;
        if once.err.contains("written anew") || name == "pod.min.json" {
            pairs.push(file.to_str().unwrap().to_owned());
            pairs.push(dir.file(&format!("back-{name}"), &back).to_str().unwrap().to_owned());
        } else {
            assert_eq!(back, source, "{name}: every byte");
            bytes += 1;
        }
        injected.push(dir.file(name, &once.out).to_str().unwrap().to_owned());
        // As clusters before native sidecars take it; pods that end are refused there, and their documents stay.
        let input = dir.file("input", &source);
        let args = ["sidecar", "inject", "--all", "--sidecar=container", "-f", input.to_str().unwrap()];
        let older = murphy(dir.path(), &args);
        let refused = older.err.contains("restartPolicy");
        assert_eq!(older.code, if refused { 2 } else { 0 }, "{name}: {}", older.err);
        ends += usize::from(refused);
        let back = change("uninject", &older.out).out;
        assert!(
            older.err.contains("written anew") || name == "pod.min.json" || back == source,
            "{name}: every byte"
        );
        if older.out != source {
            injected.push(dir.file(&format!("older-{name}"), &older.out).to_str().unwrap().to_owned());
        }
    }
    assert!(bytes >= 28, "{bytes} came back byte for byte");
    assert!((3..12).contains(&ends), "{ends} have pods that end");
    let Some(mut validate) = client("kubernetes", "validate.py") else { return };
    let done = run(validate.args(&injected));
    assert!(
        done.code == 0 && done.out.contains("1.29") && done.out.contains("1.37"),
        "{}{}",
        done.out,
        done.err
    );
    eprintln!("{}", done.out.trim());
    let done = run(client("kubernetes", "validate.py").unwrap().arg("--same").args(&pairs));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
}

#[test]
fn from_standard_input_and_what_is_refused() {
    let dir = TempDir::new();
    let pipe = |args: &[&str], text: &str| -> crate::ground::Finished {
        let mut command = murphy_in(dir.path());
        command.args(["sidecar"]).args(args).args(["-f", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: a\n    ports: [{containerPort: 80}]\n";
    let asked =
        pod.replace("  name: a\nspec", "  name: a\n  annotations:\n    murphy.dev/inject: \"true\"\nspec");
    let done = pipe(&["inject"], &asked);
    assert_eq!((done.code, done.err.trim()), (0, "Pod/a: injected; inbound 80, outbound none"));
    let back = pipe(&["uninject"], &done.out);
    assert_eq!((back.out, back.err.trim()), (asked.clone(), "Pod/a: murphy is taken out"));
    // Without the annotation nothing happens, and that is said.
    let done = pipe(&["inject"], pod);
    assert!(done.code == 0 && done.out == pod && done.err.contains("nothing was injected"), "{done:?}");
    // What asks for it and cannot have it passes as it is, and the exit code tells.
    let host = asked.replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let done = pipe(&["inject"], &host);
    assert!(done.code == 2 && done.out == host && done.err.contains("hostNetwork"), "{done:?}");
    // A proxy that the sidecar could not read would keep the pod from starting.
    let odd = asked
        .replace("\"true\"\n", "\"true\"\n    murphy.dev/mode: explicit\n    murphy.dev/proxies: db=5432\n");
    let done = pipe(&["inject"], &odd);
    assert!(
        done.code == 2 && done.out == odd && done.err.contains("murphy.dev/proxies has \"db=5432\""),
        "{done:?}"
    );
    let done = pipe(&["inject"], "a: [1\n");
    assert!(done.code == 2 && done.out == "a: [1\n" && done.err.contains("not YAML"), "{done:?}");
    let done = pipe(&["inject", "--image", "reg.example/m:1", "--outbound", "db=5432"], &asked);
    assert!(
        done.out.contains("image: \"reg.example/m:1\"") && done.out.contains("--outbound=db=5432"),
        "{done:?}"
    );
}
