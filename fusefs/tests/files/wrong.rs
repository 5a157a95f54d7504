//! What goes wrong, and that it is right again afterwards.

use crate::ground::{Ground, Test, errno, timed, until};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("errors_by_operation_path_and_caller", errors),
    ("a_share_is_kept_and_repeats", share),
    ("a_full_disk_agrees_with_statfs", disk_full),
    ("read_only_refuses_changes", read_only),
    ("short_reads_and_writes", short),
    ("corruption_on_the_way", corruption),
    ("torn_writes_end_at_a_sector", torn),
    ("attributes_are_shown_otherwise", attributes),
    ("listings_are_stale_or_short", listings),
    ("latency_delays_and_holds_up_nobody_else", latency),
    ("what_hangs_is_released_by_disarming", hang),
    ("throttling_is_exact", throttle),
    ("a_failed_fsync_is_told_once_to_each_descriptor", fsync_error),
    ("faults_change_while_they_are_on", adjust),
    ("what_makes_no_sense_is_refused", refused),
];

fn errors() {
    let g = Ground::new();
    fs::create_dir(g.path("wal")).unwrap();
    let wal = File::create(g.path("wal/1")).unwrap();
    let other = File::create(g.path("other")).unwrap();
    let armed = g.arm_with(
        "io_error",
        json!({"errno": "EDQUOT", "ops": "write,fsync"}),
        json!({"when": {"path": "/wal/*", "uid": "0", "command": "*", "op": "fsync"}}),
    );
    wal.write_at(b"x", 0).unwrap();
    assert_eq!(errno(wal.sync_all()), libc::EDQUOT);
    other.sync_all().unwrap();
    let evidence = g.disarm(&armed);
    assert_eq!((evidence.considered, evidence.applied), (1, 1));
    wal.sync_all().unwrap();
    let armed = g.arm("io_error", json!({"errno": "EACCES", "ops": "rename,mkdir,setxattr,statfs"}));
    assert_eq!(errno(fs::rename(g.path("other"), g.path("x"))), libc::EACCES);
    assert_eq!(errno(fs::create_dir(g.path("d"))), libc::EACCES);
    g.disarm(&armed);
    let operations = g.injector_operations();
    assert!(
        operations
            .iter()
            .any(|o| o.op == "fsync" && o.error.as_deref() == Some("EDQUOT") && o.path == "/wal/1")
    );
    assert!(operations.iter().all(|o| o.pid == std::process::id() || o.pid == 0), "{operations:?}");
}

fn share() {
    let g = Ground::new();
    let f = File::create(g.path("f")).unwrap();
    let run = || {
        let armed = g.arm_with("io_error", json!({"ops": "fsync"}), json!({"share": {"percent": "30%"}}));
        let hits: Vec<bool> = (0..1000).map(|_| f.sync_all().is_err()).collect();
        let evidence = g.disarm(&armed);
        let n = hits.iter().filter(|h| **h).count();
        assert_eq!((evidence.considered, evidence.applied), (1000, n as u64));
        // 4.5 standard deviations.
        assert!((300.0 - n as f64).abs() < 4.5 * (1000.0_f64 * 0.3 * 0.7).sqrt(), "{n}");
        hits
    };
    assert_eq!(run(), run());
    let armed = g.arm_with("io_error", json!({"ops": "fsync"}), json!({"share": {"nth": 3}}));
    let hits: Vec<bool> = (0..6).map(|_| f.sync_all().is_err()).collect();
    assert_eq!(hits, [false, false, true, false, false, true]);
    g.disarm(&armed);
}

fn disk_full() {
    let g = Ground::new();
    let f = File::create(g.path("f")).unwrap();
    f.write_at(&[1; 10_000], 0).unwrap();
    let armed = g.arm("disk_full", json!({"free": "8KiB", "inodes": 1}));
    let free = || {
        let st = rustix::fs::statvfs(g.path("")).unwrap();
        st.f_bavail * st.f_frsize
    };
    assert_eq!(free(), 8192);
    f.write_at(&[2; 10_000], 0).unwrap();
    assert_eq!(f.write_at(&[3; 10_000], 10_000).unwrap(), 8192);
    assert_eq!(errno(f.write_at(&[3; 1], 18_192)), libc::ENOSPC);
    assert_eq!(free(), 0);
    File::create(g.path("last")).unwrap();
    assert_eq!(errno(File::create(g.path("none"))), libc::ENOSPC);
    f.set_len(10_000).unwrap();
    assert_eq!(free(), 8192);
    fs::remove_file(g.path("last")).unwrap();
    File::create(g.path("again")).unwrap();
    let evidence = g.disarm(&armed);
    assert!(evidence.applied >= 3, "{evidence:?}");
    assert!(free() > 8192);
    f.write_at(&[3; 10_000], 10_000).unwrap();
}

fn read_only() {
    let g = Ground::new();
    let f = File::create(g.path("f")).unwrap();
    let armed = g.arm("read_only", json!({}));
    assert_eq!(errno(f.write_at(b"x", 0)), libc::EROFS);
    assert_eq!(errno(File::create(g.path("n"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(g.path("f"))), libc::EROFS);
    assert_eq!(errno(File::options().write(true).open(g.path("f"))), libc::EROFS);
    File::open(g.path("f")).unwrap();
    g.disarm(&armed);
    f.write_at(b"x", 0).unwrap();
}

fn short() {
    let g = Ground::new();
    fs::write(g.path("f"), vec![7; 10_000]).unwrap();
    let armed = g.arm("short_read", json!({"keep": "25%"}));
    let f = File::open(g.path("f")).unwrap();
    let mut b = [0; 10_000];
    assert_eq!(f.read_at(&mut b, 0).unwrap(), 2500);
    assert_eq!(b[..2500], [7; 2500]);
    g.disarm(&armed);
    let armed = g.arm("short_write", json!({"keep": "40%"}));
    let f = File::create(g.path("w")).unwrap();
    assert_eq!(f.write_at(&[1; 1000], 0).unwrap(), 400);
    g.disarm(&armed);
    assert_eq!(fs::read(g.path("w")).unwrap(), vec![1; 400]);
}

fn corruption() {
    let g = Ground::new();
    fs::write(g.path("f"), vec![0; 65_536]).unwrap();
    assert_eq!(fs::read(g.path("f")).unwrap(), vec![0; 65_536]);
    let armed = g.arm("read_corruption", json!({"per_mb": 1000, "unit": "bytes"}));
    let a = fs::read(g.path("f")).unwrap();
    let b = fs::read(g.path("f")).unwrap();
    let n = a.iter().filter(|b| **b != 0).count();
    assert!((20..150).contains(&n), "{n}");
    assert_eq!(a, b, "the same places are hit every time");
    g.disarm(&armed);
    until("the cache has forgotten what was wrong", || fs::read(g.path("f")).unwrap() == vec![0; 65_536]);
    let armed = g.arm("write_corruption", json!({"at_least": 1, "per_mb": 0}));
    fs::write(g.path("w"), vec![0; 4096]).unwrap();
    let evidence = g.disarm(&armed);
    assert_eq!(evidence.measured["changed"], 1.0);
    until("the cache shows what is in the file", || {
        fs::read(g.path("w")).unwrap().iter().map(|b| b.count_ones()).sum::<u32>() == 1
    });
}

fn torn() {
    let g = Ground::new();
    fs::write(g.path("f"), vec![b'o'; 8192]).unwrap();
    let f = File::options().write(true).open(g.path("f")).unwrap();
    let armed = g.arm("torn_write", json!({"keep": "60%"}));
    assert_eq!(f.write_at(&[b'n'; 8192], 0).unwrap(), 8192);
    g.disarm(&armed);
    let want = [vec![b'n'; 4608], vec![b'o'; 3584]].concat();
    until("the cache shows what is in the file", || fs::read(g.path("f")).unwrap() == want);
    let armed = g.arm("torn_write", json!({"keep": "0%", "report": "EIO"}));
    assert_eq!(errno(f.write_at(b"zzz", 0)), libc::EIO);
    g.disarm(&armed);
}

fn attributes() {
    let g = Ground::new();
    fs::write(g.path("f"), "123456").unwrap();
    let before = fs::metadata(g.path("f")).unwrap();
    let armed = g.arm_with(
        "attr",
        json!({"mode": "0400", "uid": 4711, "size": "3B", "mtime": "-1h"}),
        json!({"when": {"path": "/f"}}),
    );
    until("attributes are asked for anew", || fs::metadata(g.path("f")).unwrap().uid() == 4711);
    let now = fs::metadata(g.path("f")).unwrap();
    assert_eq!((now.mode() & 0o777, now.size(), now.mtime()), (0o400, 3, before.mtime() - 3600));
    g.disarm(&armed);
    until("the truth is shown again", || fs::metadata(g.path("f")).unwrap().size() == 6);
}

fn listings() {
    let g = Ground::new();
    let names = || {
        let mut all: Vec<String> = fs::read_dir(g.path(""))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    };
    for name in ["a", "b"] {
        File::create(g.path(name)).unwrap();
    }
    let armed = g.arm("stale_readdir", json!({}));
    assert_eq!(names(), ["a", "b"]);
    File::create(g.path("c")).unwrap();
    fs::remove_file(g.path("a")).unwrap();
    assert_eq!(names(), ["a", "b"]);
    assert!(g.path("c").exists() && !g.path("a").exists());
    g.disarm(&armed);
    assert_eq!(names(), ["b", "c"]);
    for i in 0..300 {
        File::create(g.path(&format!("n{i}"))).unwrap();
    }
    let armed = g.arm("stale_readdir", json!({"how": "short", "missing": "50%"}));
    let (first, second) = (names(), names());
    assert_eq!(first, second);
    assert!((110..190).contains(&first.len()), "{}", first.len());
    g.disarm(&armed);
    assert_eq!(names().len(), 302);
}

fn latency() {
    let g = Ground::new();
    // More callers wait than there are threads that serve; each has a file of its own, for the kernel lets the fsyncs of
    // one file come one after the other.
    let slow: Vec<File> = (0..12).map(|i| File::create(g.path(&format!("slow{i}"))).unwrap()).collect();
    let quick = File::create(g.path("quick")).unwrap();
    let armed =
        g.arm_with("latency", json!({"delay": "500ms", "ops": "fsync"}), json!({"when": {"path": "/slow*"}}));
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            slow.iter().map(|f| scope.spawn(|| timed(|| f.sync_all().unwrap()).0)).collect();
        let mut best = Duration::MAX;
        for _ in 0..20 {
            best = best.min(timed(|| quick.write_at(b"x", 0).unwrap()).0);
        }
        assert!(best < Duration::from_millis(250), "{best:?}");
        for thread in waiting {
            let took = thread.join().unwrap();
            assert!(took >= Duration::from_millis(500), "{took:?}");
        }
    });
    let evidence = g.disarm(&armed);
    assert_eq!(evidence.applied, 12);
    assert!(evidence.measured["added_ms_mean"] >= 500.0, "{evidence:?}");
    let best = (0..10).map(|_| timed(|| slow[0].sync_all().unwrap()).0).min().unwrap();
    assert!(best < Duration::from_millis(490), "{best:?}");
}

fn hang() {
    let g = Ground::new();
    let f = File::create(g.path("synced")).unwrap();
    // Another file: the kernel holds a file's lock while it waits for its fsync.
    File::create(g.path("f")).unwrap();
    let armed = g.arm("hang", json!({"ops": "fsync,unlink"}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| f.sync_all());
        let removing = scope.spawn(|| fs::remove_file(g.path("f")));
        until("both hang", || g.waiting() == 2);
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished() && !removing.is_finished());
        let (took, evidence) = timed(|| g.disarm(&armed));
        assert!(took < Duration::from_secs(5), "{took:?}");
        waiting.join().unwrap().unwrap();
        removing.join().unwrap().unwrap();
        assert!(evidence.considered >= 2);
    });
    assert!(!g.path("f").exists());
}

fn throttle() {
    let g = Ground::new();
    let f = File::create(g.path("f")).unwrap();
    let armed = g.arm("throttle", json!({"iops": "100/s"}));
    let (took, ()) = timed(|| {
        for _ in 0..50 {
            f.write_at(b"x", 0).unwrap();
        }
    });
    g.disarm(&armed);
    assert!(took >= Duration::from_millis(480), "{took:?}");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let armed = g.arm("throttle", json!({"rate": "4MB/s"}));
        let (took, ()) = timed(|| {
            for i in 0..20 {
                f.write_at(&[0; 100_000], i * 100_000).unwrap();
            }
        });
        g.disarm(&armed);
        best = best.min(took);
        if best < Duration::from_millis(700) {
            break;
        }
    }
    assert!((Duration::from_millis(490)..Duration::from_millis(700)).contains(&best), "{best:?}");
}

fn fsync_error() {
    let g = Ground::new();
    let a = File::create(g.path("f")).unwrap();
    let b = File::options().write(true).open(g.path("f")).unwrap();
    a.write_at(b"x", 0).unwrap();
    let armed = g.arm("fsync_error", json!({}));
    assert_eq!(errno(a.sync_all()), libc::EIO);
    a.sync_all().unwrap();
    let late = File::options().write(true).open(g.path("f")).unwrap();
    assert_eq!(errno(b.sync_all()), libc::EIO);
    b.sync_all().unwrap();
    late.sync_all().unwrap();
    b.write_at(b"y", 0).unwrap();
    assert_eq!(errno(late.sync_all()), libc::EIO);
    g.disarm(&armed);
    // Whoever has not asked yet is told even now.
    assert_eq!(errno(a.sync_all()), libc::EIO);
    a.sync_all().unwrap();
}

fn adjust() {
    use inject::Injector;
    let g = Ground::new();
    let f = File::create(g.path("f")).unwrap();
    let armed = g.arm("io_error", json!({"ops": "fsync", "errno": "EIO"}));
    assert_eq!(errno(f.sync_all()), libc::EIO);
    let mut fault = armed.order.fault.clone();
    fault.inject = model::Injection::from_pairs("io_error", [("ops", "fsync"), ("errno", "ENOSPC")]).unwrap();
    g.runtime.block_on(g.injector.adjust(&armed, &fault)).unwrap();
    assert_eq!(errno(f.sync_all()), libc::ENOSPC);
    let evidence = g.disarm(&armed);
    assert_eq!(evidence.applied, 2);
}

fn refused() {
    let g = Ground::new();
    for (name, params, why) in [
        ("throttle", json!({}), "limits nothing"),
        ("attr", json!({}), "changes nothing"),
        ("attr", json!({"mode": "9"}), "is not a mode"),
        ("torn_write", json!({"sector": "0B"}), "cannot tear"),
        ("power_cut", json!({}), "track_unsynced"),
    ] {
        let text = g.refused(name, params);
        assert!(text.contains(why), "{name}: {text}");
    }
}
