//! IOChaos.

use super::selector::{each, fields, one_or_all};
use super::tree::{map, plain, text};
use super::{Step, Steps, percent};
use crate::yaml::{Fields, Node, Reader};

const KEYS: [&str; 9] =
    ["action", "delay", "errno", "attr", "mistake", "path", "volumePath", "methods", "percent"];

/// The numbers of errors on Linux that have names here.
const ERRORS: [(u64, &str); 20] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (5, "EIO"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    (36, "ENAMETOOLONG"),
    (39, "ENOTEMPTY"),
    (116, "ESTALE"),
    (122, "EDQUOT"),
];

/// IOChaos.
pub(super) fn read(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &KEYS)?;
    let (keys, all) = one_or_all(r, &f)?;
    if all {
        return r.refuse(
            f.place_of("mode"),
            "spec.mode: a directory is that of one container",
            "write mode: one, with a selector that fits one container",
        );
    }
    let volume = r.need(&f, "spec", "volumePath", "/var/lib/db")?;
    let mount = r.text(volume, "volumePath")?;
    let directory = vec![("mount", text(volume.place, mount.as_str())), ("container", map(spec.place, keys))];
    let target = map(spec.place, vec![("fs", map(spec.place, directory))]);
    let action = r.need(&f, "spec", "action", "latency")?;
    let mut step = match r.text(action, "action")?.as_str() {
        "latency" => {
            let delay = r.need(&f, "spec", "delay", "\"100ms\"")?.clone();
            Step::new(action.place, "latency", vec![("delay", delay)])
        }
        "fault" => {
            let node = r.need(&f, "spec", "errno", "5")?;
            let number = r.integer(node, "errno", 1, 4095)?;
            let Some((_, name)) = ERRORS.iter().find(|(n, _)| *n == number) else {
                return r.refuse(
                    node.place,
                    format!("spec.errno: murphy has no name for error {number}"),
                    "5 is EIO, 28 ENOSPC, 13 EACCES; `murphy faults io_error` lists all",
                );
            };
            Step::new(action.place, "io_error", vec![("errno", plain(node.place, *name))])
        }
        other => {
            let instead = match other {
                "attrOverride" => "the fault attr does it, in a file of murphy's: `murphy faults attr`",
                "mistake" => "read_corruption and write_corruption do it, in a file of murphy's",
                _ => "it is latency or fault",
            };
            return r.refuse(action.place, format!("spec.action: {other:?} is not taken over"), instead);
        }
    };
    if let Some(methods) = f.get("methods") {
        step.parameters.push(("ops", each(r, methods, "methods", str::to_lowercase)?));
    }
    if let Some(node) = f.get("percent") {
        step.beside.push(("percent", percent(r, node, "percent")?));
    }
    step.beside.extend(path(r, &f, &mount)?);
    Some(Steps { target, faults: vec![step] })
}

/// Theirs are paths of the container; ours begin below the mount, and a star crosses slashes.
fn path(r: &Reader, f: &Fields<'_>, mount: &str) -> Option<Option<(&'static str, Node)>> {
    let Some(node) = f.get("path") else { return Some(None) };
    let written = r.text(node, "path")?;
    let Some(below) = written.strip_prefix(mount.trim_end_matches('/')).filter(|b| b.starts_with('/')) else {
        return r.refuse(
            node.place,
            format!("spec.path: {written:?} is not below volumePath {mount:?}"),
            "write it from the container's root",
        );
    };
    let glob = below.replace("/**/", "/").replace("**", "*");
    Some(Some(("when", map(node.place, vec![("path", text(node.place, glob))]))))
}
