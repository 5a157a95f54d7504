//! What the catalogue says that a fault needs, looked for on this machine.

use host::Capabilities;
use host::probe::Finding;
use inject::Possibility;
use model::catalogue::Layer;
use model::{FaultDef, TargetKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Whether everything is there that a fault needs.
pub(super) fn met(def: &FaultDef, machine: &[Finding]) -> Possibility {
    let mut out = Possibility::yes();
    let wanted = match def.layer {
        Layer::Node => "pidfd",
        Layer::Files => "fuse",
        _ => "",
    };
    if let Some(lack) = machine.iter().find(|f| f.name == wanted && !f.ok) {
        out = out.no(format!("{wanted}: {}; {}", lack.found, lack.hint));
    }
    def.needs.iter().fold(out, |out, need| one(out, def, need, machine))
}

fn one(out: Possibility, def: &FaultDef, need: &str, machine: &[Finding]) -> Possibility {
    if let Some(rest) = need.strip_prefix("CAP_") {
        // `CAP_KILL for other users' processes`: without the capability the rest is possible still.
        let (cap, purpose) = need.split_once(' ').unwrap_or((need, ""));
        debug_assert!(!rest.is_empty());
        if Capabilities::mine().has(cap) {
            return out;
        }
        let how = how_to_get(cap, machine);
        return match purpose {
            "" => out.no(format!("{cap}: {how}")),
            purpose => out.partly(format!("{cap} {purpose}: {how}")),
        };
    }
    let root = Capabilities::mine().has("CAP_DAC_OVERRIDE");
    match need {
        "stress-ng" if !on_path("stress-ng") => out.no("stress-ng: apt-get install stress-ng"),
        "systemd" if !Path::new("/run/systemd/system").is_dir() => {
            out.no("systemd as the first process: here something else starts services")
        }
        "access to the engine's socket" => match engine() {
            Ok(()) => out,
            Err(why) => out.no(why),
        },
        n if n.starts_with("root, or ") && !root => out.partly(format!("{n}: run as root")),
        n if n.contains("cgroup") || n.contains("control group") => match groups() {
            Ok(()) => out,
            // On the machine as a whole no group is needed.
            Err(why) if def.targets.contains(&TargetKind::Node) => out.partly(format!("{n}: {why}")),
            Err(why) => out.no(format!("{n}: {why}")),
        },
        n if n.starts_with("root ") && !root => out.partly(n),
        // A matter of the target alone: the plan tells.
        _ => out,
    }
}

/// How this process would have a capability.
fn how_to_get(cap: &str, machine: &[Finding]) -> String {
    if host::privilege::uid() == 0 {
        let short = cap.trim_start_matches("CAP_");
        return format!(
            "this root is without it: --cap-add {short} for a container, AmbientCapabilities={cap} for a service"
        );
    }
    // What else it is for stands before that.
    let hint = machine.iter().find(|f| f.name == cap).and_then(|f| f.hint.rsplit_once(": "));
    hint.map_or("run as root", |(_, how)| how).to_owned()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether a container engine answers the door.
fn engine() -> Result<(), String> {
    let given = std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty());
    let places: Vec<String> = match &given {
        Some(host) => vec![host.strip_prefix("unix://").unwrap_or(host).to_owned()],
        None => {
            let user = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/run/user/0".into());
            vec![
                "/var/run/docker.sock".into(),
                "/run/podman/podman.sock".into(),
                format!("{user}/docker.sock"),
                format!("{user}/podman/podman.sock"),
            ]
        }
    };
    let mut why = format!("a container engine: there is no socket at {}", places.join(", "));
    for place in &places {
        match UnixStream::connect(place) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                why = format!("{place} may not be opened: join its group (docker), or run as root");
            }
            Err(_) => {}
        }
    }
    if why.starts_with("a container") {
        why.push_str("; start the engine, or say where it is with DOCKER_HOST");
    }
    Err(why)
}

/// Whether control groups can be written to.
fn groups() -> Result<(), String> {
    let base = Path::new("/sys/fs/cgroup");
    if !base.is_dir() || std::fs::read_dir(base).map_or(0, Iterator::count) == 0 {
        return Err("no control groups are mounted: mount -t cgroup2 none /sys/fs/cgroup".into());
    }
    let of = |path: &str| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    // Where the hierarchies are mounted, not what they are mounted in: in a container the one may be written and the others
    // not.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let any = hierarchies.filter_map(|line| line.split(' ').nth(4)).any(of);
    if any {
        Ok(())
    } else {
        Err("/sys/fs/cgroup may not be written: run as root, in a container with --cgroupns=host and a writable mount".into())
    }
}
