use super::*;

fn all() -> Defaults {
    Defaults { all: true, ..Defaults::default() }
}

/// Injects, checks that doing it again changes nothing and that taking it out gives back the bytes; gives the result.
fn around(source: &str) -> String {
    let once = inject(source, &all());
    assert_ne!(once.text, source, "{:?}", once.notes);
    let twice = inject(&once.text, &all());
    assert_eq!(twice.text, once.text, "twice is once");
    assert_eq!(uninject(&once.text).text, source, "back again: {}", once.text);
    once.text
}

const WEB: &str = "# The shop.\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web   # its name\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata:\n      labels:\n        app: web\n    spec:\n      # Only one.\n      containers:\n        - name: web\n          image: \"shop:1\"\n          ports:\n            - containerPort: 8080\n              name: http\n          livenessProbe:\n            httpGet: {path: /, port: http}\n          readinessProbe:\n            tcpSocket:\n              port: 8080\n";

#[test]
fn a_deployment_has_it_and_has_it_not() {
    let text = around(WEB);
    assert!(text.starts_with("# The shop.\n") && text.contains("name: web   # its name"), "{text}");
    assert!(text.contains("--inbound=http=8080\"") && text.contains("--probe=15300:8080\""), "{text}");
    assert!(
        text.contains("httpGet: {path: /, port: 15300}") && text.contains("              port: 15300\n"),
        "{text}"
    );
    assert!(text.contains("      initContainers:\n        - name: murphy-redirect\n"), "{text}");
    let murphy = text.find("- name: murphy\n").unwrap();
    assert!(text[murphy..].contains("restartPolicy: Always"), "{text}");
    // Nothing but lines was added.
    let rest = text.lines().filter(|line| WEB.lines().any(|l| l == *line)).count();
    assert!(rest >= WEB.lines().count() - 2, "{text}");
}

#[test]
fn before_native_sidecars_it_is_a_container_after_the_others() {
    let container = Defaults { beside: Beside::Container, ..all() };
    for source in [
        WEB.to_owned(),
        WEB.trim_end().to_owned(),
        WEB.replace('\n', "\r\n"),
        format!("{WEB}      # The end.\n"),
    ] {
        let once = inject(&source, &container).text;
        let (web, murphy) = (
            once.find("- name: web").unwrap(),
            once.find("- name: murphy\n").or(once.find("- name: murphy\r")),
        );
        assert!(once.find("- name: murphy-redirect").unwrap() < web && web < murphy.unwrap(), "{once}");
        assert!(!once.contains("restartPolicy") && !once.contains("startupProbe"), "{once}");
        assert_eq!(once.ends_with('\n'), source.ends_with('\n'));
        assert_eq!(inject(&once, &container).text, once, "twice is once");
        assert_eq!(uninject(&once).text, source, "{once}");
        // From one kind to the other, and back.
        let native = inject(&once, &all()).text;
        assert!(
            native == inject(&source, &all()).text && inject(&native, &container).text == once,
            "{native}"
        );
    }
    // The annotation has the last word.
    let asks = |kind: &str| {
        WEB.replace(
            "      labels:\n        app: web\n",
            &format!("      annotations:\n        murphy.dev/sidecar: {kind}\n"),
        )
    };
    assert!(inject(&asks("native"), &container).text.contains("restartPolicy: Always"));
    assert!(!inject(&asks("container"), &all()).text.contains("restartPolicy: Always"));
    let why = |source: &str, defaults: &Defaults| match &inject(source, defaults).notes[..] {
        [Note { what: Outcome::Refused(problem), .. }] => problem.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(why(&asks("beside"), &all()).contains("container for clusters before"));
    // What ends when its containers do would not.
    let job = WEB.replace("      containers:", "      restartPolicy: Never\n      containers:");
    assert!(why(&job, &container).contains("restartPolicy Never"));
    assert!(inject(&job, &all()).text.contains("restartPolicy: Always"));
}

#[test]
fn shapes_of_keys_and_ends_of_lines() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n";
    for (annotations, rest) in [
        ("", "  containers:\n  - name: a\n    ports: [{containerPort: 80}]\n"),
        (
            "  annotations: {}\n",
            "  volumes: []\n  containers:\n  - name: a\n    ports: [{containerPort: 80}]",
        ),
        (
            "  annotations:\n",
            "  initContainers: # none yet\n  volumes:\n  containers:\n  - name: a\n    ports:\n    - containerPort: 80",
        ),
        (
            "  annotations:\n    # why\n    a: b # c\n",
            "  containers:\n  - ports: [{containerPort: 80}]\n    name: a\n  initContainers:\n  # first\n  -   name: i\n  volumes:\n  -\n    name: v\n  - {name: w, emptyDir: {}}\n",
        ),
        (
            "  annotations: null\n",
            "  volumes: ~ # x\n  \"containers\":\n    # the one\n    - name: a\n      ports: [{containerPort: 80}]\n  initContainers: []\n",
        ),
    ] {
        let source = pod.replace("  name: a\n", &format!("  name: a\n{annotations}")) + rest;
        let changed = inject(&source, &all());
        let rewritten = changed.notes.iter().any(|n| matches!(n.what, Outcome::Rewritten(_)));
        if rest.contains("-\n") {
            assert!(rewritten, "{:?}", changed.notes);
            continue;
        }
        assert!(!rewritten, "{:?} {}", changed.notes, changed.text);
        around(&source);
        around(&source.replace('\n', "\r\n"));
    }
}

#[test]
fn brackets_and_aliases_are_written_anew() {
    let flow = "# lost\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, ports: [{containerPort: 80}]}]}\n";
    let alias = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n  annotations: &a\n    x: y\nspec:\n  template:\n    metadata:\n      annotations: *a\n    spec:\n      containers:\n      - name: a\n        ports: [{containerPort: 80}]\n";
    for (source, lost) in [(flow, true), (alias, false)] {
        let once = inject(source, &all());
        assert!(once.notes.iter().any(|n| n.what == Outcome::Rewritten(lost)), "{:?}", once.notes);
        assert_eq!(inject(&once.text, &all()).text, once.text);
        let value = |text: &str| tree::parse(text).unwrap().unwrap().to_value();
        assert_eq!(value(&uninject(&once.text).text), value(source));
    }
}

#[test]
fn json_stays_json() {
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {}}, "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
    ]});
    for source in [pod.to_string(), serde_json::to_string_pretty(&pod).unwrap() + "\n"] {
        let once = inject(&source, &all());
        assert_eq!(once.text.lines().count() > 2, source.lines().count() > 2);
        let value: Value = serde_json::from_str(&once.text).unwrap();
        assert_eq!(value["items"][0]["spec"]["initContainers"][1]["name"], "murphy");
        assert_eq!(inject(&once.text, &all()).text, once.text);
        assert_eq!(uninject(&once.text).text, source);
        let (injected, _) = inject_object(&pod, &all());
        assert_eq!(injected.unwrap()["items"][0]["spec"], value["items"][0]["spec"]);
    }
}

#[test]
fn what_is_not_known_or_not_asked_for_stays() {
    let others = "# a\n---\nkind: Deployment\napiVersion: example.org/v1\nspec: {template: {spec: {containers: [{name: x}]}}}\n---\na: [1, 2\n---\n--- # b\n\n";
    let changed = inject(others, &all());
    assert_eq!(changed.text, others);
    assert!(
        matches!(&changed.notes[..], [Note { what: Outcome::Unreadable(_), about }] if about == "document 3"),
        "{:?}",
        changed.notes
    );
    let changed = inject(WEB, &Defaults::default());
    assert_eq!(changed.text, WEB);
    assert!(matches!(changed.notes[0].what, Outcome::Skipped(why) if why.contains("murphy.dev/inject")));
    // Its owner's annotation counts, and the pod's own for more.
    let asked =
        WEB.replace("  name: web   #", "  annotations: {murphy.dev/inject: \"true\"}\n  name: web   #");
    assert_ne!(inject(&asked, &Defaults::default()).text, asked);
    let not =
        asked.replace("      labels:", "      annotations: {murphy.dev/inject: 'false'}\n      labels:");
    assert_eq!(inject(&not, &all()).text, not);
    // Once it is refused, it is taken out.
    let injected = inject(WEB, &all()).text;
    let refused =
        injected.replace("      annotations:\n", "      annotations:\n        murphy.dev/inject: 'false'\n");
    assert!(!inject(&refused, &all()).text.contains("murphy-redirect"));
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    for (from, to, want) in [
        ("      # Only one.", "      hostNetwork: true", "hostNetwork"),
        ("image: \"shop:1\"", "securityContext: {runAsUser: 2102}", "user 2102"),
        (
            "        app: web",
            "        app: web\n      annotations: {murphy.dev/inbond: '80'}",
            "did you mean murphy.dev/inbound",
        ),
        (
            "        app: web",
            "        app: web\n      annotations: {murphy.dev/inbound: 'admin'}",
            "named \"admin\"",
        ),
        (
            "        app: web",
            "        app: web\n      annotations: {murphy.dev/inbound: none}",
            "no port is named",
        ),
        (
            "        app: web",
            "        app: web\n      annotations: {murphy.dev/mode: explicit}",
            "no proxies",
        ),
        ("        - name: web", "        - name: murphy", "not injected"),
        (
            "        app: web",
            "        app: web\n      annotations: {murphy.dev/roles: ada=admin}",
            "murphy.dev/tls-secret",
        ),
    ] {
        let source = WEB.replacen(from, to, 1);
        let changed = inject(&source, &all());
        assert_eq!(changed.text, source);
        let Outcome::Refused(problem) = &changed.notes[0].what else { panic!("{:?}", changed.notes) };
        let text = format!("{problem} {}", problem.hint.clone().unwrap_or_default());
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn what_had_it_and_does_not_get_it_again_is_told_so() {
    let with = inject(WEB, &all()).text;
    assert_ne!(with, WEB);
    let no = with.replacen("      annotations:\n", "      annotations:\n        murphy.dev/mode: x\n", 1);
    assert_ne!(no, with);
    let changed = inject(&no, &all());
    let [Outcome::Removed, Outcome::Refused(_)] =
        &changed.notes.iter().map(|n| n.what.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", changed.notes)
    };
    assert!(!changed.text.contains("initContainers"), "{}", changed.text);
    assert!(matches!(&inject(&with, &all()).notes[..], [Note { what: Outcome::Injected(_), .. }]));
}

#[test]
fn options_are_what_the_containers_get() {
    let annotations = "        app: web\n      annotations:\n        murphy.dev/inbound: site=http/http\n        murphy.dev/outbound: db=5432, cache=6379\n        murphy.dev/image: registry.example/murphy:2\n        murphy.dev/uid: '4000'\n        murphy.dev/token-secret: murphy\n";
    let text = around(&WEB.replace("        app: web\n", annotations));
    for want in [
        "--inbound=site=8080/http",
        "--outbound=db=5432,cache=6379",
        "--uid=4000",
        "runAsUser: 4000",
        "--token-file=/run/murphy-token/token",
        "secretName: murphy",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    let secure = "        app: web\n      annotations:\n        murphy.dev/tls-secret: certs\n        murphy.dev/roles: ada=admin, ci=viewer\n";
    let text = around(&WEB.replace("        app: web\n", secure));
    for want in [
        "--control=15090",
        "--tls-cert=/run/murphy-tls/tls.crt",
        "--tls-key=/run/murphy-tls/tls.key",
        "--tls-client-ca=/run/murphy-tls/ca.crt",
        "--role=ci=viewer",
        "secretName: certs",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    assert!(!text.contains("--token-file"), "{text}");
    let explicit = "        app: web\n      annotations:\n        murphy.dev/mode: explicit\n        murphy.dev/proxies: db=127.0.0.1:15432,db:5432; web=0.0.0.0:18080,127.0.0.1:8080,http\n";
    let text = around(&WEB.replace("        app: web\n", explicit));
    assert!(
        !text.contains("NET_ADMIN") && text.contains("--proxy=web=0.0.0.0:18080,127.0.0.1:8080,http"),
        "{text}"
    );
    assert!(text.contains("port: http}"), "{text}");
}
