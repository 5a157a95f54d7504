//! Suites that test filesystems, with faults coming and going on other files meanwhile.

use super::ground::Files;
use crate::ground::{need, program};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Does something while faults are armed and removed on other files every 30 ms. How often.
fn under_changing_faults(files: &Files, act: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    let client = control::Client::new(control::Endpoint::unix(files.dir.path().join("agent.sock")));
    let fault = |name: &str, params: serde_json::Value| {
        let json = serde_json::json!({"target": files.target(), "for": "60s", "inject": {name: params}, "when": {"path": "/elsewhere/*"}});
        serde_json::from_value::<model::Fault>(json).unwrap()
    };
    let faults = [
        fault("io_error", serde_json::json!({"ops": "all"})),
        fault("latency", serde_json::json!({"delay": "5ms"})),
        fault("read_corruption", serde_json::json!({})),
        fault("attr", serde_json::json!({"size": "1B"})),
        fault("torn_write", serde_json::json!({})),
    ];
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let fault = &faults[rounds % faults.len()];
                runtime.block_on(async {
                    let armed = client.arm(fault, None).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    client.disarm(&armed.id).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(15)).await;
                });
                rounds += 1;
            }
            rounds
        });
        // A suite that fails must not leave the other thread going.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Stop(&done);
        act();
        drop(stop);
        changing.join().unwrap()
    })
}

fn suite(name: &str) -> Option<std::path::PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let found = program(name, &[&format!("{home}/.cargo/bin")]);
    need(&format!("{name} (cargo install {name})"), found.is_some()).then_some(found).flatten()
}

#[test]
fn pjdfstest_fails_nowhere() {
    let (Some(files), Some(pjdfstest)) = (Files::agent(), suite("pjdfstest")) else { return };
    files.open(&serde_json::json!({}));
    let settings = "[features]\nposix_fallocate = {}\nutimensat = {}\nutime_now = {}\nrename_ctime = {}\n\
                    [settings]\nnaptime = 0.01\nallow_remount = false\n\
                    [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n";
    let settings = files.dir.file("pjdfstest.toml", settings);
    let mut command = files.inside(pjdfstest);
    let out = command.arg("-c").arg(settings).arg("-p").arg(files.mount()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let summary = text.lines().rfind(|l| l.starts_with("Summary")).unwrap_or(&text);
    let passed =
        summary.split(", ").find_map(|p| p.strip_suffix(" passed")?.parse::<u32>().ok()).unwrap_or(0);
    assert!(summary.contains(" 0 failed") && passed > 350, "{text}");
}

#[test]
fn fsx_finds_no_difference() {
    let (Some(files), Some(fsx)) = (Files::agent(), suite("fsx")) else { return };
    files.open(&serde_json::json!({}));
    let run = |seed: &str| {
        let out = files
            .inside(&fsx)
            .args(["-N", "20000", "-S", seed])
            .arg(files.mount().join("fsx"))
            .output()
            .unwrap();
        assert!(out.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&out.stdout));
    };
    let rounds = under_changing_faults(&files, || run("7"));
    assert!(rounds > 10, "{rounds}");
}

#[test]
fn fio_verifies_what_it_wrote() {
    let Some(files) = Files::agent() else { return };
    if !need("fio (apt-get install fio)", program("fio", &[]).is_some()) {
        return;
    }
    files.open(&serde_json::json!({}));
    let job = "[global]\nsize=8m\nbs=4k\nverify=crc32c\nverify_fatal=1\nrw=randrw\n\
               [psync]\nioengine=psync\n[mmap]\nioengine=mmap\n[libaio]\nioengine=libaio\ndirect=1\niodepth=8\n";
    let job = files.dir.file("verify.fio", job);
    let verify = || {
        let done = files.sh(&format!("fio --minimal {}", job.display()));
        assert_eq!(done.code, 0, "{done:?}");
    };
    verify();
    let rounds = under_changing_faults(&files, verify);
    assert!(rounds > 3, "{rounds}");
}
