//! Single files: changed in every way there is, and byte for byte what they were afterwards, with mode, owner, extended
//! attributes and times.

use super::rig::Rig;
use crate::ground::{is_root, need, text_of};
use rustix::fs::{CWD, XattrFlags};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const CONTENT: &str = "# settings\nexport TIMEOUT=\"30\"\nMODE=fast\n127.0.0.1 localhost payments\n";

/// Everything there is to know of a file but when its inode was changed.
#[derive(Debug, PartialEq)]
struct Whole {
    content: Vec<u8>,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    times: (i64, i64, i64, i64),
    label: Option<Vec<u8>>,
}

fn whole(path: &Path) -> Whole {
    // Times first: reading the content may move them.
    let m = fs::symlink_metadata(path).unwrap();
    let mut label = [0; 64];
    let label = rustix::fs::lgetxattr(path, "user.label", &mut label[..]).ok().map(|n| label[..n].to_vec());
    Whole {
        content: fs::read(path).unwrap_or_default(),
        inode: m.ino(),
        mode: m.mode(),
        owner: (m.uid(), m.gid()),
        times: (m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec()),
        label,
    }
}

/// A file with everything that could be lost.
fn file(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, CONTENT).unwrap();
    // Not every filesystem has them.
    let _ = rustix::fs::setxattr(&path, "user.label", b"\0kept\xff", XattrFlags::empty());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4640)).unwrap();
    }
    let time = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
    // Read later than changed, so that reading does not move it (relatime).
    let times = rustix::fs::Timestamps {
        last_access: time(1_800_000_000, 123_456_789),
        last_modification: time(1_000_000_000, 987_654_321),
    };
    rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    path
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

type Check<'a> = Box<dyn Fn() -> bool + 'a>;

#[test]
fn every_change_is_undone_byte_for_byte() {
    let rig = Rig::start();
    let dir = rig.agent.dir.path().join("etc");
    fs::create_dir(&dir).unwrap();
    let app = file(&dir, "app.conf");
    let before = whole(&app);
    let path = format!("path={}", app.display());
    let away = format!("to={}", dir.join("away").display());
    let other = rig.agent.dir.file("other", "from elsewhere");
    let from = format!("from={}", other.display());
    let is = |text: &str| text_of(&app) == text;
    let mut cases: Vec<(Vec<&str>, Check)> = vec![
        (vec!["file_chmod", "mode=0000"], Box::new(|| fs::metadata(&app).unwrap().mode() & 0o7777 == 0)),
        (vec!["file_move", &away], Box::new(|| !app.exists() && text_of(&dir.join("away")) == CONTENT)),
        (vec!["file_delete"], Box::new(|| !app.exists())),
        (vec!["file_append", r"text=\nmore\x41"], Box::new(|| is(&format!("{CONTENT}\nmoreA")))),
        (vec!["file_replace", "text=broken"], Box::new(|| is("broken"))),
        (
            vec!["file_replace", "find=MODE=fast", "text=MODE=slow"],
            Box::new(|| is(&CONTENT.replace("fast", "slow"))),
        ),
        (vec!["file_replace", &from], Box::new(|| is("from elsewhere"))),
        (vec!["file_truncate"], Box::new(|| is(""))),
        (vec!["file_truncate", "size=10B"], Box::new(|| is(&CONTENT[..10]))),
        (
            vec!["hosts", "names=payments"],
            Box::new(|| {
                text_of(&app).starts_with("192.0.2.1\tpayments\n")
                    && !text_of(&app).contains("localhost payments")
            }),
        ),
        (
            vec!["env_file", "set=TIMEOUT:1,NEW:x", "unset=MODE"],
            Box::new(|| {
                let text = text_of(&app);
                text.contains("export TIMEOUT=\"1\"\n") && !text.contains("MODE") && text.ends_with("NEW=x\n")
            }),
        ),
    ];
    if need("root, to give a file away", is_root()) {
        cases.push((
            vec!["file_chown", "user=65534", "group=65534"],
            Box::new(|| whole(&app).owner == (65_534, 65_534)),
        ));
    }
    for (words, holds) in &cases {
        let mut all = vec!["node:self", words[0], path.as_str()];
        all.extend(&words[1..]);
        let id = rig.arm(&all);
        assert!(holds(), "{words:?}: {:?}", text_of(&app));
        assert_eq!(rig.number(&id, "applied"), 1.0, "{words:?}");
        rig.disarm(&id);
        assert_eq!(whole(&app), before, "{words:?}");
        assert_eq!(names(&dir), ["app.conf"], "{words:?}");
    }
}

#[test]
fn a_directory_and_a_link() {
    let rig = Rig::start();
    let dir = rig.agent.dir.path().join("etc");
    fs::create_dir_all(dir.join("conf.d/inner")).unwrap();
    fs::write(dir.join("conf.d/inner/a"), "a").unwrap();
    let conf = format!("path={}", dir.join("conf.d").display());
    let id = rig.arm(&["node:self", "file_delete", &conf]);
    assert!(!dir.join("conf.d").exists());
    rig.disarm(&id);
    assert_eq!(text_of(&dir.join("conf.d/inner/a")), "a");
    std::os::unix::fs::symlink("conf.d/inner/a", dir.join("link")).unwrap();
    let link = format!("path={}", dir.join("link").display());
    let id = rig.arm(&["node:self", "file_replace", &link, "text=b"]);
    assert_eq!(text_of(&dir.join("conf.d/inner/a")), "b", "what it leads to");
    rig.disarm(&id);
    assert_eq!(text_of(&dir.join("link")), "a");
    let id = rig.arm(&["node:self", "file_delete", &link]);
    assert!(
        fs::symlink_metadata(dir.join("link")).is_err() && dir.join("conf.d/inner/a").exists(),
        "the link itself"
    );
    rig.disarm(&id);
    assert_eq!(text_of(&dir.join("link")), "a");
}

#[test]
fn what_others_write_meanwhile_is_kept() {
    let rig = Rig::start();
    let dir = rig.agent.dir.path().join("etc");
    fs::create_dir(&dir).unwrap();
    let app = file(&dir, "app.conf");
    let path = format!("path={}", app.display());
    let since = || {
        let all = names(&dir);
        let name = all.iter().find(|n| n.starts_with("app.conf.since-")).unwrap_or_else(|| panic!("{all:?}"));
        let path = dir.join(name);
        let text = text_of(&path);
        fs::remove_file(path).unwrap();
        text
    };
    // Into the same file.
    let id = rig.arm(&["node:self", "file_replace", &path, "text=ours"]);
    fs::write(&app, "theirs").unwrap();
    rig.disarm(&id);
    assert_eq!((text_of(&app).as_str(), since().as_str()), (CONTENT, "theirs"));
    // Another file in its place.
    let id = rig.arm(&["node:self", "file_append", &path, "text=ours"]);
    fs::write(dir.join("new"), "renamed over it").unwrap();
    fs::rename(dir.join("new"), &app).unwrap();
    rig.disarm(&id);
    assert_eq!((text_of(&app).as_str(), since().as_str()), (CONTENT, "renamed over it"));
    // Made again while it was deleted.
    let id = rig.arm(&["node:self", "file_delete", &path]);
    fs::write(&app, "made again").unwrap();
    rig.disarm(&id);
    assert_eq!((text_of(&app).as_str(), since().as_str()), (CONTENT, "made again"));
    // A hosts file that an engine has written anew has nothing of ours: it stays.
    let id = rig.arm(&["node:self", "hosts", &path, "names=db"]);
    fs::write(&app, "10.0.0.9 new\n").unwrap();
    rig.disarm(&id);
    assert_eq!((text_of(&app).as_str(), names(&dir)), ("10.0.0.9 new\n", vec!["app.conf".to_owned()]));
}

#[test]
fn what_should_not_be_touched_is_refused() {
    let rig = Rig::start();
    for (words, why) in [
        (vec!["file_delete", "path=/etc"], "right below the root"),
        (vec!["file_chmod", "path=/proc/self/comm", "mode=0"], "one of the kernel's"),
        (vec!["file_append", "path=relative", "text=x"], "no plain absolute path"),
        (vec!["file_append", "path=/tmp", "text=x"], "right below the root"),
        (vec!["file_delete", "path=/no/such/file"], "cannot be used"),
        (vec!["file_chmod", "path=/etc/passwd", "mode=9"], "no mode"),
    ] {
        let said = rig.try_arm(&[&["node:self"][..], &words].concat()).unwrap_err();
        assert!(said.contains(why), "{words:?}: {said}");
    }
    let one = rig.agent.dir.file("one", CONTENT);
    let path = format!("path={}", one.display());
    let id = rig.arm(&["node:self", "file_append", &path, "text=x"]);
    let said = rig.try_arm(&["node:self", "file_truncate", &path]).unwrap_err();
    assert!(said.contains("is changed by the fault f7 already"), "{said}");
    rig.disarm(&id);
    assert_eq!(text_of(&one), CONTENT);
}
