//! Coming and going: nothing hidden, nothing left, nobody stuck.

use crate::ground::{Ground, Test, errno, until};
use inject::{Injector, Recovered};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub const TESTS: &[Test] = &[
    ("someone_else_unmounts_and_nothing_beneath_is_touched", unmounted),
    ("closing_releases_what_hangs", closing),
    ("a_mount_of_a_dead_agent_is_swept", swept),
    ("it_can_be_mounted_again_and_again", again),
    ("a_million_files_are_not_kept", bounded),
];

fn mounted(g: &Ground) -> bool {
    let path = g.path("");
    let path = path.to_str().unwrap().trim_end_matches('/');
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|l| l.split(' ').nth(4) == Some(path))
}

fn unmounted() {
    let g = Ground::new();
    fs::write(g.path("f"), "x").unwrap();
    let path = g.path("");
    // A file system beneath that must stay.
    let flags = nix::mount::MntFlags::empty();
    until("nobody is inside", || nix::mount::umount2(&path, flags).is_ok());
    until("it is seen", || !g.runtime.block_on(async { g.injector.states() })[0].up);
    assert_eq!(fs::read_to_string(g.path("f")).unwrap(), "x");
    let state = g.runtime.block_on(g.injector.open(&g.target)).unwrap();
    assert!(state.up && mounted(&g));
    g.close();
    assert!(!mounted(&g));
    assert_eq!(fs::read_to_string(g.path("f")).unwrap(), "x");
}

fn closing() {
    let g = Ground::new();
    let (f, other) = (File::create(g.path("f")).unwrap(), File::create(g.path("other")).unwrap());
    g.arm("hang", json!({"ops": "fsync,write"}));
    std::thread::scope(|scope| {
        let a = scope.spawn(|| other.sync_all());
        let b = scope.spawn(|| f.write_at(b"x", 0));
        until("both hang", || g.waiting() == 2);
        g.close();
        a.join().unwrap().unwrap();
        b.join().unwrap().unwrap();
    });
    assert!(!mounted(&g));
    // What is open is served on.
    f.write_at(b"y", 1).unwrap();
    assert_eq!(fs::read(g.path("f")).unwrap(), b"xy");
}

fn swept() {
    let g = Ground::new();
    fs::write(g.path("f"), "x").unwrap();
    assert!(mounted(&g));
    let left = g.runtime.block_on(g.injector.sweep(&g.state_dir()));
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].target, &left[0].outcome), (&g.reference(), &Recovered::Undone));
    assert!(!mounted(&g));
    assert_eq!(fs::read_to_string(g.path("f")).unwrap(), "x");
    assert!(g.runtime.block_on(g.injector.sweep(&g.state_dir())).is_empty());
}

fn again() {
    let g = Ground::new();
    for i in 0..30 {
        g.close();
        assert!(!mounted(&g));
        g.runtime.block_on(g.injector.open(&g.target)).unwrap();
        fs::write(g.path("f"), format!("{i}")).unwrap();
        // It is in use.
        let other = model::Target { name: "u".into(), spec: g.target.spec.clone() };
        let refused = g.runtime.block_on(g.injector.open(&other)).unwrap_err().to_string();
        assert!(refused.contains("in use already"), "{refused}");
    }
    assert_eq!(errno(fs::remove_dir(g.path(""))), libc::EBUSY);
}

/// A small tree is enough to see that descriptors are not kept for each file.
fn bounded() {
    let g = Ground::new();
    for d in 0..20 {
        fs::create_dir(g.path(&format!("{d}"))).unwrap();
        for f in 0..200 {
            File::create(g.path(&format!("{d}/{f}"))).unwrap();
        }
    }
    for d in 0..20 {
        for e in fs::read_dir(g.path(&format!("{d}"))).unwrap() {
            e.unwrap().metadata().unwrap();
        }
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 3000, "{open} descriptors");
}
