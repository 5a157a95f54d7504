//! The same in real containers: with what they have by default, as root and as a user, and with what the pages say they need.
//!
//! By hand: it downloads Debian's Docker (60 MB) once. `cargo test --test e2e doctor::inside -- --ignored --nocapture`

use super::{CASES, Someone, check};
use crate::ground::{Engine, Finished, eventually};
use control::{Client, Endpoint};
use model::catalogue::{self, Layer};
use model::{Fault, FaultDef, Injection, Share, Target, TargetKind};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What is nobody's but the container's, and is not tried on a machine.
const MORE: &str = "
    VICTIM kill signal=SIGCONT
    node:self port_fill leave=28000
    node:self conntrack_flush
    !node:self interface_down interface=lo
    !node:self service_restart unit=nobody.service
    container:none-of-that-name container_restart
    GROUP pid_fill count=3
    GROUP cgroup_squeeze pids=100
    GROUP memory size=1MiB
    VICTIM oom_kill
";

/// A container that stays, with murphy and what it is linked with; someone in it.
fn inside(engine: &Engine, name: &'static str, options: &[&str], user: Option<u32>) -> Someone {
    let mut someone = Someone::new(name, &[]);
    if let Some(user) = user {
        someone = someone.of_user(user);
    }
    let container = name.replace(' ', "-");
    let dir = someone.dir.path().display().to_string();
    let own = format!("{dir}:{dir}");
    let mut args = vec!["run", "-d", "--name", &container, "--network", "none", "-v", &own];
    args.extend(["-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro"]);
    args.extend(options);
    args.extend(["box", "sh", "-c", "sleep 1000000"]);
    engine.must(&args);
    let client = engine.command(&[]);
    someone.before = std::iter::once(client.get_program())
        .chain(client.get_args())
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let user = user.unwrap_or(0).to_string();
    let (state, runtime) = (format!("MURPHY_STATE_DIR={dir}/state"), format!("XDG_RUNTIME_DIR={dir}"));
    let exec =
        ["exec", "-u", &user, "-w", &dir, "-e", &state, "-e", &runtime, "-e", "NO_COLOR=1", &container];
    someone.before.extend(exec.map(str::to_owned));
    someone
}

impl Someone {
    fn sh(&self, script: &str) -> String {
        let done: Finished = self.command(Path::new("sh")).args(["-c", script]).output().unwrap().into();
        assert_eq!(done.code, 0, "{}: {script}: {done:?}", self.name);
        done.out.trim().to_owned()
    }
}

/// Everything that goes through a proxy or a served directory, by an agent in there; how many, and what was wrong.
fn through_an_agent(someone: &Someone) -> (usize, Vec<String>) {
    let says = someone.doctor();
    // A directory of their own: where anyone may write no socket is made.
    let home = someone.dir.path().join("home");
    let (socket, vol) = (home.join("agent.sock"), home.join("vol"));
    someone.sh("mkdir -p -m 700 home/vol");
    let mut command = someone.command(&someone.binary);
    let log = fs::File::create(someone.dir.path().join("log")).unwrap();
    command.arg("agent").arg("--socket").arg(&socket).stdout(log.try_clone().unwrap()).stderr(log);
    // Ends with the container.
    let mut agent = command.spawn().unwrap();
    let client = Client::new(Endpoint::unix(socket));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let up = eventually(Duration::from_secs(30), || runtime.block_on(client.status()).is_ok());
    assert!(up, "{}", fs::read_to_string(someone.dir.path().join("log")).unwrap());
    let mut served = Ok(());
    let proxy = |protocol: &str, tls: bool| {
        let mut spec = serde_json::json!({
            "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "protocol": protocol
        });
        if tls {
            spec["tls"] = serde_json::json!({"downstream": "terminate"});
        }
        serde_json::json!({"proxy": spec})
    };
    for (name, mut target) in [
        ("tcp", proxy("tcp", false)),
        ("udp", proxy("udp", false)),
        ("http", proxy("http", false)),
        ("tls", proxy("http", true)),
        ("vol", serde_json::json!({"fs": {"mount": vol, "track_unsynced": "1MiB"}})),
    ] {
        target["name"] = name.into();
        let target: Target = serde_json::from_value(target).unwrap();
        let opened = runtime.block_on(client.open_target(&target)).map(drop).map_err(|e| e.to_string());
        match name {
            "vol" => served = opened,
            _ => opened.unwrap_or_else(|e| panic!("{}: {name}: {e}", someone.name)),
        }
    }
    let (mut tried, mut wrong) = (0, Vec::new());
    for def in
        catalogue::all().filter(|d| d.targets.iter().any(|k| *k == TargetKind::Proxy || *k == TargetKind::Fs))
    {
        let (possible, why) = &says[def.name];
        let armed = served_or(def, &served).and_then(|target| {
            let fault = Fault { target: target.parse().unwrap(), ..example(def) };
            runtime.block_on(client.arm(&fault, None)).map(drop).map_err(|e| e.to_string())
        });
        tried += 1;
        eprintln!("{}: {}: says {possible} ({why}), is {armed:?}", someone.name, def.name);
        if armed.is_ok() != *possible {
            wrong.push(format!("{}: {}: says {possible} ({why}), is {armed:?}", someone.name, def.name));
        }
    }
    let _ = agent.kill();
    let _ = agent.wait();
    (tried, wrong)
}

/// The target that a fault is tried on.
fn served_or(def: &FaultDef, served: &Result<(), String>) -> Result<&'static str, String> {
    match def.layer {
        Layer::Files => served.clone().map(|()| "fs:vol"),
        Layer::Tls => Ok("proxy:tls"),
        Layer::Connections if ["drop", "duplicate", "reorder"].contains(&def.name) => Ok("proxy:udp"),
        Layer::Connections => Ok("proxy:tcp"),
        _ => Ok("proxy:http"),
    }
}

/// A fault with what the catalogue shows as an example.
fn example(def: &FaultDef) -> Fault {
    // These need one of several.
    let one_of = match def.name {
        "replace" => &["status"][..],
        "patch" => &["regex", "with"],
        "throttle" => &["rate"],
        "attr" => &["mode"],
        _ => &[],
    };
    let params = def.params.iter().filter(|p| p.required || one_of.contains(&p.name));
    let params = params.map(|p| (p.name, p.example));
    let inject = Injection::from_pairs(def.name, params).unwrap();
    Fault {
        id: None,
        target: "node:self".parse().unwrap(),
        inject,
        lasts: Some("60ms".parse().unwrap()),
        share: Share::All,
        per: None,
        when: None,
        ramp: None,
        seed: None,
    }
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn what_doctor_says_in_a_container_is_what_happens_there() {
    let Some(engine) = Engine::start() else { return };
    let net = ["--cap-add", "NET_ADMIN"];
    // As docs/containers.md has it.
    let much = ["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"];
    let open = ["--device", "/dev/fuse", "--security-opt", "seccomp=unconfined"];
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, options, user) in [
        ("root by default", vec![], None),
        ("user by default", vec![], Some(1000)),
        ("root with NET_ADMIN", net.to_vec(), None),
        ("root with much", [&much[..], &open].concat(), None),
        ("user with much", [&much[..], &open].concat(), Some(1000)),
    ] {
        let someone = inside(&engine, name, &options, user);
        // Their own network, their own processes, their own group.
        let pid = someone.sh("sleep 600 > /dev/null 2>&1 & echo $!");
        someone.sh(&format!("until grep -q sleep /proc/{pid}/comm; do sleep 0.1; done"));
        let group =
            someone.sh("sed -n 's/^[0-9]*:[a-z,]*pids[a-z,]*://p; s/^0:://p' /proc/1/cgroup | head -1");
        let cases = format!("{CASES}{MORE}").replace("GROUP", &format!("cgroup:{group}"));
        let (n, lies) = check(&someone, &cases, &format!("process:{pid}"), "node:self");
        tried += n;
        wrong.extend(lies);
        let (n, lies) = through_an_agent(&someone);
        tried += n;
        wrong.extend(lies);
    }
    eprintln!("{tried} lines tried");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
