use crate::experiment::{Experiment, read};
use crate::target::{Pick, TargetSpec};
use std::collections::BTreeMap;

fn taken(source: &str) -> Experiment {
    read("chaos.yaml", source, &BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(source: &str) -> String {
    read("chaos.yaml", source, &BTreeMap::new()).unwrap_err().to_string()
}

/// An object with that kind and spec, whose selector is that of most.
fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: {kind}\nmetadata:\n  name: web.chaos\n  namespace: chaos-mesh\nspec:\n  \
         mode: one\n  selector:\n    namespaces: [shop]\n    labelSelectors:\n      app: web\n      tier: front\n{spec}"
    )
}

/// The faults as `murphy arm` would be told them.
fn faults(experiment: &Experiment) -> Vec<String> {
    let stages = experiment.stages.iter().flat_map(|stage| &stage.faults);
    stages.map(|planned| serde_json::to_value(planned).unwrap()["fault"]["inject"].to_string()).collect()
}

#[test]
fn a_selector_is_containers_by_all_labels_or_their_service() {
    let e = taken(&object("PodChaos", "  action: pod-failure\n  duration: 30s\n"));
    assert_eq!(e.name, "web-chaos");
    let TargetSpec::Container(c) = &e.targets[0].spec else { panic!("{:?}", e.targets) };
    assert_eq!(c.label.as_deref(), Some("app=web,tier=front"));
    assert!(c.or_service);
    assert_eq!(c.pick, Pick::Count(1));
    for (mode, pick) in
        [("all", "all"), ("fixed\n  value: \"2\"", "count"), ("fixed-percent\n  value: \"40\"", "percent")]
    {
        let e = taken(
            &object("PodChaos", "  action: container-kill\n").replace("mode: one", &format!("mode: {mode}")),
        );
        assert!(serde_json::to_string(&e.targets[0]).unwrap().contains(pick), "{mode}: {:?}", e.targets);
    }
    let named = object("PodChaos", "  action: pod-kill\n")
        .replace("labelSelectors:\n      app: web\n      tier: front", "pods: {shop: [web-1]}");
    let TargetSpec::Container(c) = &taken(&named).targets[0].spec else { panic!() };
    assert_eq!((c.name.as_deref(), c.label.as_deref()), (Some("web-1"), None));
}

#[test]
fn every_kind_is_taken_over() {
    let all = [
        ("PodChaos", "  action: pod-kill\n", "kill|SIGKILL"),
        ("PodChaos", "  action: pod-kill\n  gracePeriod: 5\n", "SIGTERM"),
        ("PodChaos", "  action: pod-failure\n  duration: 30s\n", "container_stop"),
        (
            "TimeChaos",
            "  timeOffset: \"-10m\"\n  clockIds: [CLOCK_REALTIME]\n  duration: 30s\n",
            "clock|-10m|realtime",
        ),
        (
            "DNSChaos",
            "  action: error\n  patterns: [\"google.com\", \"*.shop\"]\n  duration: 30s\n",
            "dns|servfail|google.com,*.shop",
        ),
        (
            "NetworkChaos",
            "  action: delay\n  delay: {latency: 10ms, jitter: 2ms, correlation: \"25\"}\n  direction: both\n  externalTargets: [db.shop, 10.0.0.0/8]\n  device: eth0\n  duration: 30s\n",
            "net_delay|10ms|2ms|25|both|db.shop,10.0.0.0/8|eth0",
        ),
        (
            "NetworkChaos",
            "  action: delay\n  delay: {latency: 10ms, reorder: {reorder: \"50\", gap: 5}}\n  duration: 30s\n",
            "net_reorder|50|5",
        ),
        (
            "NetworkChaos",
            "  action: loss\n  loss: {loss: \"25\", correlation: \"25\"}\n  duration: 30s\n",
            "net_loss|25",
        ),
        (
            "NetworkChaos",
            "  action: bandwidth\n  bandwidth: {rate: 1mbps, limit: 20971520, buffer: 10000}\n  duration: 30s\n",
            "net_rate|1MB/s",
        ),
        (
            "NetworkChaos",
            "  action: partition\n  direction: from\n  externalTargets: [db]\n  duration: 30s\n",
            "partition|ingress",
        ),
        (
            "NetworkChaos",
            "  action: netem\n  delay: {latency: 1ms}\n  loss: {loss: \"1\"}\n  duration: 30s\n",
            "net_delay|net_loss",
        ),
        (
            "StressChaos",
            "  stressors: {cpu: {workers: 2, load: 50}, memory: {workers: 4, size: 256MB}}\n  duration: 30s\n",
            "cpu|50%|memory|256MB",
        ),
        ("StressChaos", "  stressors: {memory: {workers: 1, size: 50%}}\n  duration: 30s\n", "load"),
        ("StressChaos", "  stressngStressors: \"--matrix 1\"\n  duration: 30s\n", "stress_ng|--matrix 1"),
        (
            "IOChaos",
            "  action: fault\n  volumePath: /var/run/etcd\n  path: /var/run/etcd/**/*\n  errno: 5\n  methods: [READ, WRITE]\n  percent: 50\n  duration: 30s\n",
            "io_error|EIO|read|write",
        ),
        (
            "IOChaos",
            "  action: latency\n  volumePath: /data\n  delay: 100ms\n  duration: 30s\n",
            "latency|100ms",
        ),
        (
            "HTTPChaos",
            "  target: Request\n  port: 80\n  method: GET\n  path: /api*\n  abort: true\n  duration: 5m\n",
            "abort|close|request",
        ),
        (
            "HTTPChaos",
            "  target: Response\n  port: 80\n  code: 200\n  replace: {body: eyJmb28iOiAiYmFyIn0K, code: 404, headers: {x-a: b}}\n  patch: {body: {type: JSON, value: '{\"foo\": 1}'}}\n  delay: 1s\n  duration: 5m\n",
            "delay|replace|404|x-a|patch",
        ),
    ];
    for (kind, spec, says) in all {
        let e = taken(&object(kind, spec));
        let done = faults(&e).join(" ");
        for word in says.split('|') {
            assert!(done.contains(word), "{kind} {spec}: {done} does not say {word}");
        }
    }
}

#[test]
fn paths_begin_below_the_volume_and_bodies_are_read() {
    let e = taken(&object(
        "IOChaos",
        "  action: fault\n  volumePath: /data/\n  path: /data/wal/**/*.log\n  errno: 28\n  percent: 50\n  duration: 30s\n",
    ));
    let fault = serde_json::to_value(&e.stages[0].faults[0]).unwrap()["fault"].clone();
    assert_eq!(fault["when"]["path"], "/wal/*.log", "{fault}");
    let TargetSpec::Fs(fs) = &e.targets[0].spec else { panic!() };
    assert_eq!(fs.container.as_ref().and_then(|c| c.label.as_deref()), Some("app=web,tier=front"));
    let body = "  target: Response\n  port: 80\n  replace: {body: aGVsbG8=}\n  duration: 5m\n";
    assert!(faults(&taken(&object("HTTPChaos", body)))[0].contains("hello"));
}

#[test]
fn what_cannot_be_done_is_refused_by_its_name() {
    let all = [
        ("Schedule", "  schedule: '@every 5m'\n", "again and again"),
        ("KernelChaos", "  failKernRequest: {}\n", "the kernel itself"),
        ("PodChaos", "  action: pod-failure\n", "spec.duration is missing"),
        ("PodChaos", "  action: pod-kill\n  scheduler: {cron: '@every 1m'}\n", "spec.scheduler"),
        ("PodChaos", "  action: container-kill\n  containerNames: [web]\n", "spec.containerNames"),
        (
            "NetworkChaos",
            "  action: partition\n  target: {mode: all, selector: {labelSelectors: {app: db}}}\n  duration: 3s\n",
            "spec.target",
        ),
        ("NetworkChaos", "  action: bandwidth\n  bandwidth: {rate: fast}\n  duration: 3s\n", "is no rate"),
        ("NetworkChaos", "  action: dely\n  duration: 3s\n", "is none of NetworkChaos"),
        ("StressChaos", "  stressors: {cpu: {workers: 1, options: [--x]}}\n  duration: 3s\n", "options"),
        ("IOChaos", "  action: mistake\n  volumePath: /d\n  duration: 3s\n", "mistake"),
        (
            "IOChaos",
            "  action: latency\n  delay: 1s\n  volumePath: /d\n  path: /etc/x\n  duration: 3s\n",
            "not below volumePath",
        ),
        (
            "HTTPChaos",
            "  target: Request\n  port: 80\n  patch: {headers: [[a, b]]}\n  duration: 3s\n",
            "spec.patch.headers",
        ),
        ("HTTPChaos", "  target: Request\n  port: 80\n  replace: {body: '{}'}\n  duration: 3s\n", "base64"),
        ("TimeChaos", "  timeOffset: yesterday\n  duration: 3s\n", "timeOffset: yesterday"),
    ];
    for (kind, spec, says) in all {
        let why = refused(&object(kind, spec));
        assert!(why.contains(says), "{kind}: {why}");
        assert!(why.contains("--> chaos.yaml:"), "{why}");
        assert!(why.contains("\n  = "), "{why}");
    }
    for empty in ["{}", "{namespaces: [shop]}", "{labelSelectors: {}}"] {
        let source = "apiVersion: chaos-mesh.org/v1alpha1\nkind: PodChaos\nmetadata: {name: a}\nspec: {action: pod-kill, mode: all, selector: S}\n";
        assert!(refused(&source.replace('S', empty)).contains("everything that runs here"), "{empty}");
    }
    let expression = object("PodChaos", "  action: pod-kill\n").replace(
        "labelSelectors:",
        "expressionSelectors: [{key: a, operator: In, values: [b]}]\n    labelSelectors:",
    );
    assert!(refused(&expression).contains("expressionSelectors"));
}
