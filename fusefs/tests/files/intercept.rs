//! Faults reach what is open and cached already, and afterwards everything is as fast as before.

use crate::ground::{Ground, Test, errno, timed, until};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("every_read_of_a_cached_file_is_hit", every_read),
    ("a_share_of_cached_reads_is_hit", share_of_reads),
    ("readers_of_one_file_wait_side_by_side", side_by_side),
    ("mapped_pages_are_hit_when_they_are_read_anew", mapped),
    ("other_files_stay_cached", others),
];

fn cached(g: &Ground, name: &str) -> File {
    fs::write(g.path(name), vec![b'c'; 65_536]).unwrap();
    let f = File::open(g.path(name)).unwrap();
    for _ in 0..3 {
        f.read_exact_at(&mut [0; 65_536], 0).unwrap();
    }
    f
}

fn every_read() {
    let g = Ground::new();
    let f = cached(&g, "f");
    for _ in 0..3 {
        let armed = g.arm("io_error", json!({"ops": "read"}));
        for i in 0..300 {
            assert_eq!(errno(f.read_at(&mut [0; 4096], i % 16 * 4096)), libc::EIO, "read {i}");
        }
        let evidence = g.disarm(&armed);
        assert!(evidence.applied >= 300, "{evidence:?}");
        until("it can be read again", || f.read_at(&mut [0; 4096], 0).is_ok());
    }
    // From the page cache again: a thousand reads in the time of some ten round trips each.
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let (took, ()) = timed(|| (0..1000).for_each(|_| assert!(f.read_at(&mut [0; 4096], 0).is_ok())));
        best = best.min(took);
    }
    assert!(best < Duration::from_millis(8), "{best:?} for 1000 reads");
}

fn share_of_reads() {
    let g = Ground::new();
    let f = cached(&g, "f");
    let armed = g.arm_with("io_error", json!({"ops": "read"}), json!({"share": {"percent": "30%"}}));
    // Past the readahead, so that each read is one of ours.
    let failed = (0..2000).filter(|_| f.read_at(&mut [0; 4096], 0).is_err()).count();
    let evidence = g.disarm(&armed);
    let sigma = (2000.0_f64 * 0.3 * 0.7).sqrt();
    // A page whose reading ahead fails is read again by itself, and may fail or not then.
    let share = evidence.applied as f64 / evidence.considered as f64;
    assert!(evidence.considered >= 2000, "{evidence:?}");
    assert!((share - 0.3).abs() < 4.5 * sigma / 2000.0, "{evidence:?}");
    assert!(failed > 0);
}

fn side_by_side() {
    let g = Ground::new();
    let f = cached(&g, "f");
    let armed = g.arm("latency", json!({"delay": "200ms", "ops": "read"}));
    let together = || {
        let (took, ()) = timed(|| {
            std::thread::scope(|scope| {
                for i in 0..8 {
                    let f = &f;
                    scope.spawn(move || {
                        // One that waits for a page that another's read brings along waits as long as that still takes.
                        assert_eq!(f.read_at(&mut [0; 4096], i * 8192).unwrap(), 4096);
                    });
                }
            });
        });
        assert!(took >= Duration::from_millis(199), "{took:?}");
        took
    };
    // Not one after the other: that would be 1.6 s at least.
    let quick = (0..5).map(|_| together()).find(|took| *took < Duration::from_millis(1500));
    assert!(quick.is_some(), "they wait for each other");
    // Asking for attributes does not wait for reads that do.
    let asked = || {
        std::thread::scope(|scope| {
            scope.spawn(|| f.read_at(&mut [0; 4096], 0).unwrap());
            until("it waits", || g.waiting() > 0);
            timed(|| fs::metadata(g.path("f")).unwrap()).0
        })
    };
    let quick = (0..5).map(|_| asked()).find(|took| *took < Duration::from_millis(150));
    assert!(quick.is_some(), "attributes wait for reads");
    g.disarm(&armed);
}

fn mapped() {
    let g = Ground::new();
    let script = r"
import mmap,sys,signal,os
f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),4096,prot=mmap.PROT_READ)
assert m[0]==ord('c')
print('mapped',flush=True); sys.stdin.readline(); print(m[0],flush=True)
";
    drop(cached(&g, "f"));
    let child = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(g.path("f"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: needs python3");
        return;
    };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "mapped\n");
    let armed = g.arm("io_error", json!({"ops": "read"}));
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    g.disarm(&armed);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGBUS), "{status:?}");
}

fn others() {
    let g = Ground::new();
    let (hit, spared) = (cached(&g, "hit"), cached(&g, "spared"));
    let armed = g.arm_with("io_error", json!({"ops": "read"}), json!({"when": {"path": "/hit"}}));
    let before = g.count("read");
    for _ in 0..500 {
        spared.read_exact_at(&mut [0; 4096], 0).unwrap();
    }
    assert_eq!(g.count("read"), before, "they came from the cache");
    assert_eq!(errno(hit.read_at(&mut [0; 4096], 0)), libc::EIO);
    g.disarm(&armed);
}
