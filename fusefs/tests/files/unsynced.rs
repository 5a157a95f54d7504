//! What was not synced is lost when the power fails.

use crate::ground::{Ground, Test, errno, until};
use model::target::FsSpec;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub const TESTS: &[Test] = &[
    ("a_power_cut_takes_what_was_not_synced", power_cut),
    ("lost_fsyncs_are_lost", lost_fsync),
    ("data_of_a_failed_fsync_is_dropped", dropped),
    ("synchronous_writes_are_durable", synchronous),
];

fn tracked() -> Ground {
    Ground::with(FsSpec { track_unsynced: Some("16MiB".parse().unwrap()), ..FsSpec::default() })
}

fn power_cut() {
    let g = tracked();
    let f = File::create(g.path("f")).unwrap();
    f.write_at(b"durable", 0).unwrap();
    f.sync_data().unwrap();
    f.write_at(b"LOST", 2).unwrap();
    f.write_at(&[1; 9000], 7).unwrap();
    fs::write(g.path("new"), "never synced").unwrap();
    let armed = g.arm("power_cut", json!({}));
    assert_eq!(errno(f.write_at(b"x", 0)), libc::EIO);
    assert_eq!(errno(f.sync_all()), libc::EIO);
    assert_eq!(errno(File::open(g.path("f"))), libc::EIO);
    let evidence = g.disarm(&armed);
    assert!(evidence.measured["writes_lost"] >= 3.0, "{evidence:?}");
    until("the caches have forgotten", || fs::read(g.path("f")).is_ok_and(|t| t == b"durable"));
    assert_eq!(fs::read(g.path("new")).unwrap(), b"");
    f.write_at(b"D", 0).unwrap();
    f.sync_all().unwrap();
    g.close();
    assert_eq!(fs::read(g.path("f")).unwrap(), b"Durable");
}

fn lost_fsync() {
    let g = tracked();
    let f = File::create(g.path("f")).unwrap();
    f.write_at(b"honest", 0).unwrap();
    f.sync_all().unwrap();
    let lying = g.arm("lost_fsync", json!({}));
    f.write_at(b"LIES!!", 0).unwrap();
    f.sync_all().unwrap();
    let cut = g.arm("power_cut", json!({}));
    assert_eq!(g.disarm(&lying).applied, 1);
    g.disarm(&cut);
    until("the caches have forgotten", || fs::read(g.path("f")).is_ok_and(|t| t == b"honest"));
}

fn dropped() {
    for (model, shown) in [("ext4", "new"), ("btrfs", "old")] {
        let g = tracked();
        let f = File::create(g.path("f")).unwrap();
        f.write_at(b"old", 0).unwrap();
        f.sync_all().unwrap();
        f.write_at(b"new", 0).unwrap();
        let failing = g.arm("fsync_error", json!({"model": model}));
        assert_eq!(errno(f.sync_all()), libc::EIO);
        f.sync_all().unwrap();
        g.disarm(&failing);
        until(model, || fs::read(g.path("f")).unwrap() == shown.as_bytes());
        // What goes on working is what is written afterwards.
        f.write_at(b"!", 3).unwrap();
        f.sync_all().unwrap();
        let cut = g.arm("power_cut", json!({}));
        g.disarm(&cut);
        until(model, || fs::read(g.path("f")).is_ok_and(|t| t == b"old!" || t == b"old"));
    }
}

fn synchronous() {
    use std::os::unix::fs::OpenOptionsExt;
    let g = tracked();
    fs::write(g.path("f"), "....").unwrap();
    let f = File::options().write(true).custom_flags(libc::O_DSYNC).open(g.path("f")).unwrap();
    f.write_at(b"sync", 0).unwrap();
    let cut = g.arm("power_cut", json!({}));
    g.disarm(&cut);
    until("it is there", || fs::read(g.path("f")).is_ok_and(|t| t == b"sync"));
}
