//! What the engine asks of this room.

use super::act::{Act, Inside, Stage};
use super::change::Change;
use super::facts::{Facts, Kind};
use super::spot::Spot;
use crate::containers;
use crate::containers::api::Engine;
use crate::held::Held;
use crate::inroot;
use crate::opened::Opened;
use crate::record::tag;
use crate::shared::blocking;
use host::privilege;
use inject::knob::Dials;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Injection, Target, TargetKind, TargetRef, TargetSpec};
use rustix::fs::{OFlags, fstatvfs};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

const FAULTS: [&str; 9] = [
    "file_chmod",
    "file_chown",
    "file_move",
    "file_delete",
    "file_append",
    "file_replace",
    "file_truncate",
    "hosts",
    "env_file",
];

/// Changes single files.
#[derive(Debug, Default)]
pub struct FileInjector {
    opened: Opened,
    held: Held,
}

/// A root that paths are meant from.
struct Root {
    path: PathBuf,
    inside: Option<Inside>,
}

impl FileInjector {
    /// An injector with nothing changed.
    pub fn new() -> FileInjector {
        FileInjector::default()
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        Dials::new(&order.fault).finish().map_err(Refusal)?;
        let mut plan = Plan { order: order.clone(), acts: vec![], warnings: vec![] };
        for root in roots(order).await? {
            let order = order.clone();
            let (act, words) = blocking(move || planned(&order, &root))
                .await
                .map_err(|why| Refusal::new(why, "please report this"))??;
            self.held.check(&[key(&act)], &plan.order.id)?;
            plan.acts.push(UndoRecord {
                injector: "file".into(),
                act: words,
                undo: undo_words(&act),
                data: serde_json::to_value(&act).unwrap_or_default(),
                ends_with_agent: false,
            });
        }
        Ok(plan)
    }

    async fn act(&self, plan: &Plan, n: usize, log: &dyn UndoLog) -> Result<(), InjectError> {
        let broken = || InjectError::new("the plan does not read").hint("please report this");
        let mut act = read(&plan.acts[n]).ok_or_else(broken)?;
        self.held.take(vec![key(&act)], &plan.order.id);
        let root = match &act.container {
            None => PathBuf::from("/"),
            Some(inside) => PathBuf::from(format!("/proc/{}/root", inside.process.pid)),
        };
        let failed = |why: String| InjectError::new(why).hint("please report this");
        if matches!(act.fault.as_str(), "file_chmod" | "file_chown" | "file_delete" | "file_move") {
            return blocking(move || {
                let spot = act.spot(&root).map_err(|e| InjectError::new(format!("{}: {e}", act.shown())))?;
                act.check(&spot)?;
                act.touch(&root, &spot)
            })
            .await
            .map_err(failed)?;
        }
        let inject = plan.order.fault.inject.clone();
        let (first, at) = (act.clone(), root.clone());
        let change: Change = blocking(move || {
            let spot = first.spot(&at).map_err(|e| InjectError::new(format!("{}: {e}", first.shown())))?;
            first.check(&spot)?;
            let (change, _) =
                super::change::change(&inject, &spot, &first.before).map_err(|r| InjectError(r.0))?;
            first.keep(&spot)?;
            Ok::<_, InjectError>(change)
        })
        .await
        .map_err(failed)??;
        act.stage = Stage::Kept;
        if let Err(e) = log.effect(n, serde_json::to_value(&act).unwrap_or_default()).await {
            // Untouched so far: what is kept may go.
            let untouched = Act { stage: Stage::Planned, ..act };
            let _ = blocking(move || untouched.undo(&root)).await;
            return Err(e);
        }
        let (second, at) = (act.clone(), root.clone());
        act.stage = blocking(move || {
            let spot = second.spot(&at).map_err(|e| InjectError::new(format!("{}: {e}", second.shown())))?;
            second.change(&spot, &change)
        })
        .await
        .map_err(failed)??;
        // Without this the undo still works; it only cannot tell others' changes from ours.
        log.effect(n, serde_json::to_value(&act).unwrap_or_default()).await
    }
}

impl Injector for FileInjector {
    fn name(&self) -> &'static str {
        "file"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Node, TargetKind::Container]
    }

    fn injects(&self, fault: &str) -> bool {
        FAULTS.contains(&fault)
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        // Others that serve these kinds come first.
        Box::pin(async move { self.opened.open(target, "files".into(), vec![]) })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.opened.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        self.opened.states()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(self.plan_now(order))
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        plan.acts.iter().filter_map(|act| Some(key(&read(act)?))).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let mut out = Vec::new();
            for n in 0..plan.acts.len() {
                out.push(self.act(plan, n, log).await);
            }
            out
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if fault.inject == armed.order.fault.inject {
                return Ok(());
            }
            Err(InjectError::new(format!("{} cannot be changed while it is on", fault.inject.name()))
                .hint("disarm it and arm it again"))
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let Some(act) = read(act) else {
                return Recovered::Failed(format!("the record of {:?} does not read: {}", act.act, act.data));
            };
            let root = match found_again(&act).await {
                Ok(root) => root,
                Err(outcome) => return outcome,
            };
            blocking(move || act.undo(&root)).await.unwrap_or_else(Recovered::Failed)
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let mut applied = 0;
        let mut measured = BTreeMap::new();
        for act in armed.acts.iter().filter_map(read) {
            let root = match &act.container {
                None => PathBuf::from("/"),
                Some(inside) => PathBuf::from(format!("/proc/{}/root", inside.process.pid)),
            };
            applied += u64::from(act.holds(&root));
            measured.insert("size_before".to_owned(), act.before.size as f64);
            match act.spot(&root).and_then(|spot| Facts::of(&spot)) {
                Ok(now) => {
                    measured.insert("size".into(), now.size as f64);
                }
                Err(e) => {
                    // What a program gets that asks for it.
                    measured.insert("errno".into(), f64::from(e.raw_os_error().unwrap_or(0)));
                }
            }
        }
        Evidence { considered: armed.acts.len() as u64, applied, measured }
    }

    fn forget(&self, armed: &Armed) {
        self.held.release(&armed.order.id);
    }
}

async fn roots(order: &Order) -> Result<Vec<Root>, Refusal> {
    let reference = order.target.reference();
    match &order.target.spec {
        TargetSpec::Node(_) => Ok(vec![Root { path: "/".into(), inside: None }]),
        TargetSpec::Container(spec) => {
            let picked = containers::picked(&reference, spec, order.seed).await?;
            let root = |f: containers::Found| Root {
                path: f.root(),
                inside: Some(Inside { id: f.id, name: f.name, engine: f.engine, process: f.pid }),
            };
            Ok(picked.into_iter().map(root).collect())
        }
        other => Err(Refusal::new(
            format!("{reference} is a target of kind {}", other.kind()),
            "files are those of node:self or of a container",
        )),
    }
}

fn planned(order: &Order, root: &Root) -> Result<(Act, String), Refusal> {
    let inject = &order.fault.inject;
    let fault = inject.name();
    let path = absolute(inject, "path")?;
    let inside = root.inside.as_ref().map_or_else(String::new, |c| format!(" in container {}", c.name));
    let as_link = matches!(fault, "file_move" | "file_delete");
    let unusable = |e: std::io::Error| {
        Refusal::new(format!("{}{inside} cannot be used: {e}", path.display()), "give a file that is there")
    };
    let spot = Spot::find(&root.path, &path, !as_link).map_err(unusable)?;
    let before = Facts::of(&spot).map_err(unusable)?;
    let shown = format!("{}{inside}", spot.shown());
    sensible(fault, &spot, &before)?;
    // The file's own name, cut so that the whole fits into what filesystems allow.
    let short: String = spot.name.chars().take(60).collect();
    let tag = tag(&order.id);
    let mut act = Act {
        fault: fault.to_owned(),
        boot: host::clock::boot_id().to_owned(),
        container: root.inside.clone(),
        dir: spot.path.clone(),
        name: spot.name.clone(),
        before,
        keep: format!(".murphy-{tag}-{short}"),
        aside: format!("{short}.since-{tag}"),
        to: None,
        mode: None,
        owner: None,
        line: None,
        stage: Stage::Planned,
    };
    let words = match fault {
        "file_chmod" => {
            let mode = mode(inject)?;
            if mode == act.before.mode {
                return Err(Refusal::new(format!("{shown} has the mode {mode:04o} already"), "set another"));
            }
            act.mode = Some(mode);
            format!("change the mode of {shown} from {:04o} to {mode:04o}", act.before.mode)
        }
        "file_chown" => {
            let (user, group) = (inject.text("user"), inject.text("group"));
            let uid = user.map(|name| number(&root.path, "passwd", name)).transpose()?;
            let gid = group.map(|name| number(&root.path, "group", name)).transpose()?;
            if uid.is_none() && gid.is_none() {
                return Err(Refusal::new("file_chown needs user or group", "give for example user=nobody"));
            }
            act.owner = Some((uid, gid));
            let named =
                |what: &str, name: Option<&str>| name.map_or_else(String::new, |n| format!(" {what} {n}"));
            format!("give {shown} to{}{}", named("user", user), named("group", group))
        }
        "file_move" => {
            let to = absolute(inject, "to")?;
            let target = Spot::find(&root.path, &to, false).map_err(|e| {
                Refusal::new(
                    format!("{}{inside} cannot be used: {e}", to.display()),
                    "its directory must be there",
                )
            })?;
            if Facts::of(&target).is_ok() {
                return Err(Refusal::new(
                    format!("{}{inside} is there already", to.display()),
                    "choose another name",
                ));
            }
            let here = |spot: &Spot| fstatvfs(&spot.dir).map(|s| s.f_fsid).ok();
            if here(&target) != here(&spot) {
                return Err(Refusal::new(
                    format!("{}{inside} is on another filesystem", to.display()),
                    "choose a place on the same one",
                ));
            }
            act.to = Some((target.path.clone(), target.name.clone()));
            format!("move {shown} to {}", target.shown())
        }
        "file_delete" => format!("take {shown} away"),
        _ => {
            let (change, line) = super::change::change(inject, &spot, &act.before)?;
            act.line = line;
            let room = fstatvfs(&spot.dir).map(|s| s.f_bavail * s.f_frsize).unwrap_or(u64::MAX);
            if room < act.before.size {
                return Err(Refusal::new(
                    format!("there is no space to keep the original of {shown} ({} bytes)", act.before.size),
                    "free some on its filesystem",
                ));
            }
            change.words(fault, &shown)
        }
    };
    Ok((act, words))
}

fn undo_words(act: &Act) -> String {
    let before = &act.before;
    match act.fault.as_str() {
        "file_chmod" => format!("set its mode to {:04o} again", before.mode),
        "file_chown" => {
            format!("give it to {}:{} again, with its mode and attributes", before.uid, before.gid)
        }
        "file_move" => "move it back".into(),
        "file_delete" => format!("move it back from {}", act.dir.join(&act.keep).display()),
        _ => format!("restore it from {}", act.dir.join(&act.keep).display()),
    }
}

/// Refuses what would take the machine along.
fn sensible(fault: &str, spot: &Spot, facts: &Facts) -> Result<(), Refusal> {
    let shown = spot.shown();
    for kernels in ["/proc", "/sys", "/dev"] {
        if Path::new(&shown).starts_with(kernels) {
            return Err(Refusal::new(
                format!("{shown} is no file on a disk, but one of the kernel's"),
                "what is set there is not this fault's affair",
            ));
        }
    }
    let top = spot.path == Path::new("/") && facts.kind == Kind::Directory;
    if top {
        return Err(Refusal::new(
            format!("{shown} is a directory right below the root"),
            "choose a file, or a directory further down",
        ));
    }
    if facts.kind == Kind::Other && fault != "file_move" && fault != "file_delete" {
        return Err(Refusal::new(format!("{shown} is a device, a pipe or a socket"), "choose a file"));
    }
    Ok(())
}

fn absolute(inject: &Injection, key: &str) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(inject.text(key).unwrap_or_default());
    if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(Refusal::new(
            format!("{key} {:?} is no plain absolute path", path.display()),
            "write it from the root: /etc/app.conf",
        ));
    }
    Ok(path)
}

fn mode(inject: &Injection) -> Result<u32, Refusal> {
    let text = inject.text("mode").unwrap_or_default();
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    mode.ok_or_else(|| {
        Refusal::new(format!("mode {text:?} is no mode"), "write it in octal: 0000, 0640, 4755")
    })
}

/// The number of a user or group, as the root it is meant in knows it.
fn number(root: &Path, file: &str, name: &str) -> Result<u32, Refusal> {
    let own = root == Path::new("/");
    let found = name.parse().ok().or_else(|| match (own, file) {
        (true, "passwd") => privilege::uid_of(name),
        (true, _) => privilege::gid_of(name),
        (false, _) => {
            let fd = inroot::open(root, &Path::new("/etc").join(file), OFlags::RDONLY).ok()?;
            let mut text = String::new();
            std::fs::File::from(fd).read_to_string(&mut text).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok())
        }
    });
    found.ok_or_else(|| {
        Refusal::new(format!("/etc/{file} has no {name:?}"), "give a name that is in there, or a number")
    })
}

/// The root in which to undo it: that of a container that was started anew is another one.
async fn found_again(act: &Act) -> Result<PathBuf, Recovered> {
    let Some(inside) = &act.container else { return Ok("/".into()) };
    if act.boot == host::clock::boot_id() && inside.process.alive() {
        return Ok(format!("/proc/{}/root", inside.process.pid).into());
    }
    let name = &inside.name;
    match containers::inspect(&Engine::new(inside.engine.clone()), &inside.id).await {
        Ok(state) => match state.found {
            Some(found) => Ok(found.root()),
            None => Err(Recovered::Failed(format!(
                "container {name} is {}, and its files can only be reached while it runs: start it, then run `murphy recover`",
                state.status
            ))),
        },
        Err(e) if e.is_missing() => {
            Err(Recovered::Gone(format!("container {name} was removed, and its files with it")))
        }
        Err(e) => Err(Recovered::Failed(format!("{e}; {}, then run `murphy recover`", e.hint()))),
    }
}

fn key(act: &Act) -> String {
    format!("file {} (inode {} of device {})", act.shown(), act.before.inode, act.before.device)
}

fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}
