//! One change of one file: making it, and taking it back from its record alone.

use super::change::Change;
use super::facts::{Facts, Holding, Kind};
use super::keep;
use super::spot::Spot;
use inject::{InjectError, Recovered};
use rustix::fs::{AtFlags, OFlags, unlinkat};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Act {
    pub fault: String,
    pub boot: String,
    /// The container that the path is meant in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Inside>,
    /// The directory, below the root.
    pub dir: PathBuf,
    pub name: String,
    pub before: Facts,
    /// The name beside it under which the original is kept.
    pub keep: String,
    /// The name beside it for what others have made of it meanwhile.
    pub aside: String,
    /// Where it is moved to: a directory below the root, and a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<(PathBuf, String)>,
    /// The mode that is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The owner and the group that are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(Option<u32>, Option<u32>)>,
    /// A line of ours: without it in there, somebody has made the file anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    #[serde(default)]
    pub stage: Stage,
}

/// A container, by what finds it again after it was started anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Inside {
    pub id: String,
    pub name: String,
    pub engine: PathBuf,
    pub process: host::ProcessId,
}

/// How far a change of content has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// The original is not complete yet; the file is untouched.
    #[default]
    Planned,
    /// The original is kept.
    Kept,
    /// The file is changed: its size and time of modification then.
    Changed { size: u64, modified: (i64, i64) },
}

impl Act {
    pub(super) fn spot(&self, root: &Path) -> io::Result<Spot> {
        Spot::at(root, &self.dir, &self.name)
    }

    pub(super) fn shown(&self) -> String {
        let inside =
            self.container.as_ref().map_or_else(String::new, |c| format!(" in container {}", c.name));
        format!("{}{inside}", self.dir.join(&self.name).display())
    }

    fn failed(&self, what: &str, e: &io::Error) -> InjectError {
        let hint = match e.kind() {
            io::ErrorKind::PermissionDenied => {
                "run the agent as the file's owner or as root; `lsattr` shows whether it is immutable"
            }
            io::ErrorKind::ReadOnlyFilesystem => "its filesystem is mounted read-only",
            io::ErrorKind::StorageFull => "the original needs as much space again beside the file",
            io::ErrorKind::ExecutableFileBusy => "it is a program that runs; use file_move or file_delete",
            io::ErrorKind::ResourceBusy => "something is mounted there; change its content instead",
            _ => "nothing of it was left",
        };
        InjectError::new(format!("{what} {} failed: {e}", self.shown())).hint(hint)
    }

    /// Whether the file is still the one that was planned for.
    pub(super) fn check(&self, spot: &Spot) -> Result<(), InjectError> {
        let now = Facts::of(spot).map_err(|e| self.failed("looking at", &e))?;
        if now.inode != self.before.inode
            || now.size != self.before.size
            || now.modified != self.before.modified
        {
            return Err(InjectError::new(format!(
                "{} has been changed since this was planned",
                self.shown()
            ))
            .hint("arm it again"));
        }
        Ok(())
    }

    /// Keeps the original. To be recorded before the file is touched.
    pub(super) fn keep(&self, spot: &Spot) -> Result<(), InjectError> {
        keep::copy(spot, &self.keep).map_err(|e| self.failed("keeping the original of", &e))
    }

    /// Changes the content; what tells it from another's change.
    pub(super) fn change(&self, spot: &Spot, change: &Change) -> Result<Stage, InjectError> {
        let done = change.apply(spot).and_then(|()| Facts::of(spot));
        match done {
            Ok(now) => Ok(Stage::Changed { size: now.size, modified: now.modified }),
            Err(e) => {
                let back = keep::put_back(spot, &self.keep, &self.before);
                let failed = self.failed("changing", &e);
                Err(match back {
                    Ok(()) => failed,
                    Err(back) => failed.hint(format!("and putting it back: {back}; run `murphy recover`")),
                })
            }
        }
    }

    /// Changes what is no content.
    pub(super) fn touch(&self, root: &Path, spot: &Spot) -> Result<(), InjectError> {
        let held = || Holding::take(spot);
        let done = match self.fault.as_str() {
            "file_chmod" => held().and_then(|h| h.set_mode(self.mode.unwrap_or(self.before.mode))),
            "file_chown" => {
                let (uid, gid) = self.owner.unwrap_or_default();
                held().and_then(|h| h.set_owner(uid, gid))
            }
            "file_delete" => keep::rename(spot, &self.name, spot, &self.keep),
            _ => {
                let (dir, name) = self.to.clone().unwrap_or_default();
                Spot::at(root, &dir, &name).and_then(|to| keep::rename(spot, &self.name, &to, &name))
            }
        };
        done.map_err(|e| self.failed("changing", &e))
    }

    /// Takes it back.
    pub(super) fn undo(&self, root: &Path) -> Recovered {
        let spot = match self.spot(root) {
            Ok(spot) => spot,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Recovered::Gone(format!("the directory of {} is gone", self.shown()));
            }
            Err(e) => return self.still(&e),
        };
        let done = match self.fault.as_str() {
            "file_chmod" | "file_chown" => self.untouch(&spot),
            "file_delete" => self.bring_back(&spot, &spot, &self.keep),
            "file_move" => {
                let (dir, name) = self.to.clone().unwrap_or_default();
                match Spot::at(root, &dir, &name) {
                    Ok(from) => self.bring_back(&spot, &from, &name),
                    Err(e) => Err(e),
                }
            }
            _ => self.unchange(&spot),
        };
        done.unwrap_or_else(|e| self.still(&e))
    }

    fn still(&self, e: &io::Error) -> Recovered {
        Recovered::Failed(format!("{} could not be restored: {e}; then run `murphy recover`", self.shown()))
    }

    fn untouch(&self, spot: &Spot) -> io::Result<Recovered> {
        let held = match Holding::take(spot) {
            Ok(held) => held,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Recovered::Gone(format!("{} was removed", self.shown())));
            }
            Err(e) => return Err(e),
        };
        let now = held.facts()?;
        if now.inode != self.before.inode {
            return Ok(Recovered::Gone(format!("{} is another file by now", self.shown())));
        }
        let (same_mode, same_owner) =
            (now.mode == self.before.mode, (now.uid, now.gid) == (self.before.uid, self.before.gid));
        if same_mode && same_owner && now.attributes == self.before.attributes {
            return Ok(Recovered::Gone(format!("{} is as it was", self.shown())));
        }
        // An undo that was cut off has put the owner back, and not what the kernel took for that (set-user-id).
        let half = same_owner && now.mode | 0o6000 == self.before.mode | 0o6000;
        let ours = match (self.mode, self.owner) {
            (Some(mode), _) => now.mode == mode,
            (_, Some((uid, gid))) => {
                half || (uid.is_none_or(|u| u == now.uid) && gid.is_none_or(|g| g == now.gid))
            }
            _ => true,
        };
        if !ours {
            return Ok(Recovered::Gone(format!("{} was changed by someone else since", self.shown())));
        }
        held.restore(&self.before)?;
        let now = held.facts()?;
        if now.mode != self.before.mode || (now.uid, now.gid) != (self.before.uid, self.before.gid) {
            return Err(io::Error::other("it reads otherwise than it was set"));
        }
        Ok(Recovered::Undone)
    }

    /// Moves the original back to its name.
    fn bring_back(&self, spot: &Spot, from: &Spot, name: &str) -> io::Result<Recovered> {
        let original = Spot { dir: from.dir.try_clone()?, path: from.path.clone(), name: name.to_owned() };
        match Facts::of(&original) {
            Ok(facts) if facts.inode == self.before.inode => {}
            Ok(_) => {
                return Ok(Recovered::Failed(format!(
                    "{} is not what was put there: look for the original by hand",
                    original.shown()
                )));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let there = Facts::of(spot).is_ok_and(|now| now.inode == self.before.inode);
                return Ok(if there {
                    Recovered::Gone(format!("{} is where it was", self.shown()))
                } else {
                    Recovered::Failed(format!(
                        "{} is gone: someone has moved or removed the original",
                        original.shown()
                    ))
                });
            }
            Err(e) => return Err(e),
        }
        match keep::set_aside(spot, &self.aside) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        keep::rename(from, name, spot, &self.name)?;
        let now = Facts::of(spot)?;
        match now.differs(&self.before) {
            // Whoever had it open may have gone on writing: that is theirs, and it is the same file.
            Some(what) if what.contains("mode") || what.contains("owner") => {
                Err(io::Error::other(format!("it is back with another {what}")))
            }
            _ => Ok(Recovered::Undone),
        }
    }

    fn unchange(&self, spot: &Spot) -> io::Result<Recovered> {
        let gone = |why: &str| Ok(Recovered::Gone(format!("{} {why}", self.shown())));
        // Under another name from when it is put back on: an undo that was cut off goes on, and takes what it has written
        // itself for nobody else's.
        let begun = self.keep.replacen(".murphy-", ".murphy_", 1);
        let goes_on = self.is_kept(spot, &begun)?;
        if !goes_on && !self.is_kept(spot, &self.keep)? {
            return gone("has nothing to be restored from: it was not changed, or is restored");
        }
        if !goes_on && self.stage == Stage::Planned {
            unlinkat(&spot.dir, &self.keep, AtFlags::empty())?;
            return gone("was not touched yet");
        }
        let now = Facts::of(spot);
        let others = match (&now, self.stage) {
            (Ok(now), Stage::Changed { size, modified }) if !goes_on => {
                now.inode != self.before.inode || now.size != size || now.modified != modified
            }
            (Ok(now), _) => now.inode != self.before.inode,
            (Err(_), _) => false,
        };
        let kept = if goes_on { &begun } else { &self.keep };
        if (others || goes_on) && now.is_ok() && self.is_made_anew(spot)? && !keep::begins_as(spot, kept)? {
            unlinkat(&spot.dir, kept, AtFlags::empty())?;
            return gone("was written anew since, without anything of ours");
        }
        if let (true, Ok(now)) = (others, &now) {
            if now.inode == self.before.inode {
                keep::copy_aside(spot, &self.aside)?;
            } else {
                keep::set_aside(spot, &self.aside)?;
            }
        }
        if !goes_on {
            keep::rename(spot, &self.keep, spot, &begun)?;
        }
        keep::put_back(spot, &begun, &self.before)?;
        match Facts::of(spot)?.differs(&self.before) {
            None => Ok(Recovered::Undone),
            Some(what) => Err(io::Error::other(format!("it is back with another {what}"))),
        }
    }

    /// Whether the original is kept under that name.
    fn is_kept(&self, spot: &Spot, name: &str) -> io::Result<bool> {
        let kept = Spot { dir: spot.dir.try_clone()?, path: spot.path.clone(), name: name.to_owned() };
        match Facts::of(&kept) {
            Ok(kept) if kept.kind == Kind::File => Ok(true),
            Ok(_) => Err(io::Error::other("what was kept is no file any more")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An engine writes the hosts file of a container anew when it starts it: nothing of ours is in there then.
    fn is_made_anew(&self, spot: &Spot) -> io::Result<bool> {
        let Some(line) = &self.line else { return Ok(false) };
        let mut text = Vec::new();
        keep::open(spot, &spot.name, OFlags::RDONLY)?.read_to_end(&mut text)?;
        Ok(!String::from_utf8_lossy(&text).contains(line.trim_end()))
    }

    /// Whether what was done can be seen, for evidence.
    pub(super) fn holds(&self, root: &Path) -> bool {
        let Ok(spot) = self.spot(root) else { return false };
        let now = Facts::of(&spot);
        match (self.fault.as_str(), now) {
            ("file_delete" | "file_move", now) => now.is_err(),
            (_, Err(_)) => false,
            ("file_chmod", Ok(now)) => Some(now.mode) == self.mode,
            ("file_chown", Ok(now)) => {
                let (uid, gid) = self.owner.unwrap_or_default();
                uid.is_none_or(|u| u == now.uid) && gid.is_none_or(|g| g == now.gid)
            }
            (_, Ok(now)) => match self.stage {
                Stage::Changed { size, modified } => now.size == size && now.modified == modified,
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const TEXT: &str = "127.0.0.1 localhost\n";

    struct Ground {
        dir: tempfile::TempDir,
        act: Act,
        spot: Spot,
    }

    /// A file that is changed, as far as the record says.
    fn changed(fault: &str, to: &str, line: Option<&str>) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), TEXT).unwrap();
        let spot = Spot::at(Path::new("/"), dir.path(), "f").unwrap();
        let before = Facts::of(&spot).unwrap();
        let mut act = Act {
            fault: fault.into(),
            boot: String::new(),
            container: None,
            dir: dir.path().to_owned(),
            name: "f".into(),
            before,
            keep: ".murphy-x-f".into(),
            aside: "f.since-x".into(),
            to: None,
            mode: None,
            owner: None,
            line: line.map(str::to_owned),
            stage: Stage::Kept,
        };
        keep::copy(&spot, &act.keep).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        fs::write(dir.path().join("f"), to).unwrap();
        let now = Facts::of(&spot).unwrap();
        act.stage = Stage::Changed { size: now.size, modified: now.modified };
        Ground { dir, act, spot }
    }

    impl Ground {
        fn names(&self) -> Vec<String> {
            let all = fs::read_dir(self.dir.path()).unwrap();
            all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        }

        fn is_as_before(&self) {
            assert_eq!(fs::read_to_string(self.dir.path().join("f")).unwrap(), TEXT);
            assert_eq!(Facts::of(&self.spot).unwrap().differs(&self.act.before), None);
            assert_eq!(self.names(), ["f"]);
        }
    }

    /// As it is when whoever puts it back is killed at one place or another.
    #[test]
    fn an_undo_that_was_cut_off_goes_on() {
        let line = "192.0.2.1\tdb\n";
        for (to, line) in
            [(format!("{line}{TEXT}"), Some(line)), (format!("{TEXT}more"), None), ("".into(), None)]
        {
            for there in
                [to.clone(), TEXT.to_owned(), format!("{TEXT}{}", to.get(TEXT.len()..).unwrap_or(""))]
            {
                let ground = changed(if line.is_some() { "hosts" } else { "file_append" }, &to, line);
                fs::rename(ground.dir.path().join(".murphy-x-f"), ground.dir.path().join(".murphy_x-f"))
                    .unwrap();
                fs::write(ground.dir.path().join("f"), &there).unwrap();
                let done = ground.act.undo(Path::new("/"));
                assert_eq!(done, Recovered::Undone, "{to:?}, {there:?}");
                ground.is_as_before();
                assert!(matches!(ground.act.undo(Path::new("/")), Recovered::Gone(_)));
            }
        }
    }

    #[test]
    fn what_others_wrote_is_kept_and_a_hosts_file_made_anew_is_left() {
        let ground = changed("file_append", &format!("{TEXT}more"), None);
        fs::write(ground.dir.path().join("f"), "theirs").unwrap();
        assert_eq!(ground.act.undo(Path::new("/")), Recovered::Undone);
        assert_eq!(fs::read_to_string(ground.dir.path().join("f.since-x")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(ground.dir.path().join("f")).unwrap(), TEXT);

        let line = "192.0.2.1\tdb\n";
        let ground = changed("hosts", &format!("{line}{TEXT}"), Some(line));
        fs::write(ground.dir.path().join("f"), "172.17.0.9 anew\n").unwrap();
        assert!(matches!(ground.act.undo(Path::new("/")), Recovered::Gone(_)));
        assert_eq!(fs::read_to_string(ground.dir.path().join("f")).unwrap(), "172.17.0.9 anew\n");
        assert_eq!(ground.names(), ["f"]);
    }

    #[test]
    fn set_user_id_that_was_lost_with_the_owner_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o4755)).unwrap();
        let mut ground = changed("file_chown", "", None);
        ground.spot = Spot::at(Path::new("/"), dir.path(), "f").unwrap();
        let act = Act {
            dir: dir.path().to_owned(),
            before: Facts::of(&ground.spot).unwrap(),
            owner: Some((Some(65534), None)),
            ..ground.act
        };
        // The owner is back, and what the kernel took when it changed is not.
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(act.undo(Path::new("/")), Recovered::Undone);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o4755);
    }
}
