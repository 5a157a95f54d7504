//! git: what it syncs by default is not enough for its loose objects; told to sync all, it loses no commit.

use super::table::Program;
use crate::ground::{Finished, Served, need, program};
use std::process::{Command, Stdio};

/// A repository in a served directory.
pub(super) struct Repository {
    served: Served,
    /// What core.fsync is set to, when it is.
    fsync: Option<&'static str>,
}

impl Repository {
    pub(super) fn new() -> Option<Repository> {
        Repository::with(Some("all"))
    }

    fn with(fsync: Option<&'static str>) -> Option<Repository> {
        if !need("git", program("git", &[]).is_some()) {
            return None;
        }
        let served = Served::tracked(|_| {})?;
        let repository = Repository { served, fsync };
        let made = repository.git(&["init", "-q", "-b", "main", "."]);
        assert_eq!(made.code, 0, "{made:?}");
        repository.sync();
        Some(repository)
    }

    fn git(&self, args: &[&str]) -> Finished {
        let mut command = Command::new("git");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("LC_ALL", "C")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.auto=0"])
            .args(self.fsync.iter().flat_map(|what| ["-c".to_owned(), format!("core.fsync={what}")]))
            .args(args)
            .current_dir(self.served.dir())
            .stdin(Stdio::null());
        command.output().unwrap().into()
    }

    /// git init syncs nothing, whatever it is told: a power cut right after it leaves no repository.
    fn sync(&self) {
        let all = ["-type", "f", "-exec", "sync", "{}", "+"];
        assert!(Command::new("find").arg(self.served.dir()).args(all).status().unwrap().success());
    }

    fn commit(&self, n: u64) -> Result<(), String> {
        let done = std::fs::write(self.served.dir().join(format!("file{n}")), format!("{n}\n").repeat(500));
        done.map_err(|e| format!("writing a file: {e}"))?;
        for args in [&["add", "."][..], &["commit", "-q", "-m", &format!("{n}")]] {
            let done = self.git(args);
            if done.code != 0 {
                return Err(format!("git {}: exit {}: {}", args[0], done.code, done.err.trim()));
            }
        }
        Ok(())
    }

    /// How many commits are there, when all that belongs to them is.
    fn commits(&self) -> Result<u64, String> {
        let whole = self.git(&["fsck", "--full", "--strict", "--no-dangling"]);
        if whole.code != 0 {
            let err = format!("{}{}", whole.out, whole.err);
            return Err(err.lines().take(3).collect::<Vec<_>>().join(" / "));
        }
        let count = self.git(&["rev-list", "--count", "HEAD"]);
        count.out.trim().parse().map_err(|_| count.err)
    }
}

#[test]
fn commits_outlast_a_power_cut_when_git_syncs_all() {
    let Some(repository) = Repository::with(Some("all")) else { return };
    (0..6).for_each(|n| repository.commit(n).unwrap());
    let lost = repository.served.power_cut("lose=all", || ());
    println!("core.fsync=all: {lost} writes lost, {:?} of 6 commits", repository.commits());
    assert_eq!(repository.commits(), Ok(6));

    let Some(repository) = Repository::with(None) else { return };
    (0..6).for_each(|n| repository.commit(n).unwrap());
    let lost = repository.served.power_cut("lose=all", || ());
    println!("as git comes: {lost} writes lost, {:?}", repository.commits());
    assert!(
        lost > 0 && repository.commits().is_err(),
        "loose objects were not synced: {:?}",
        repository.commits()
    );
}

impl Program for Repository {
    fn name(&self) -> &'static str {
        "git, core.fsync=all"
    }
    fn served(&self) -> &Served {
        &self.served
    }
    fn prepare(&mut self) {
        for entry in std::fs::read_dir(self.served.dir()).unwrap().flatten() {
            let gone = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
            gone.unwrap();
        }
        assert_eq!(self.git(&["init", "-q", "-b", "main", "."]).code, 0);
        self.sync();
    }
    fn write(&mut self, n: u64) -> Result<(), String> {
        self.commit(n)
    }
    fn count(&mut self) -> Result<u64, String> {
        self.commits()
    }
    fn said(&self) -> String {
        String::new()
    }
    fn alive(&mut self) -> bool {
        true
    }
    fn kill(&mut self) {}
    fn restart(&mut self) {}
}
