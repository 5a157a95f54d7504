//! Control groups of version 2 with all of their controllers, in another kernel: many machines have them in version 1.
//!
//! By hand: it downloads a kernel that runs as a program (60 MB) once.
//! `cargo test --test e2e machine::guest -- --ignored --nocapture`

use crate::ground::{need, program};
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "by hand: downloads a kernel"]
fn groups_of_version_2() {
    if !["apt-get", "cpio", "bc"].iter().all(|name| need(name, program(name, &[]).is_some())) {
        return;
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm");
    let fetched = Command::new(scripts.join("fetch.sh")).arg(&cache).arg("uml").output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let murphy = format!("{}:/murphy", env!("CARGO_BIN_EXE_murphy"));
    let ran = Command::new(scripts.join("vmtest"))
        .args(["-e", "uml", "-t", "300", "-M", "1200", "-d", "64", "-f", &murphy, "--"])
        .arg(scripts.join("groups.sh"))
        .env("VMTEST_CACHE", &cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    print!("{said}");
    assert!(said.ends_with("WHOLE\n"), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
}
