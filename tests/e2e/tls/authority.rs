//! `murphy ca`

use crate::ground::{TempDir, murphy, need, program};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn the_root_is_made_once_shown_and_exported() {
    let dir = TempDir::new();
    let ca = |args: &[&str]| murphy(dir.path(), &[&["ca"], args].concat());
    let made = ca(&[]);
    assert!(made.code == 0 && made.err.contains("made a new CA"), "{made:?}");
    let shown = ca(&["show", "--json"]);
    assert!(shown.err.is_empty(), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let path = ca(&["path"]).out.trim().to_owned();
    assert_eq!(shown["path"], path.as_str());
    let root = ca(&["export"]).out;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), root);
    let file = dir.path().join("root.pem").display().to_string();
    assert_eq!(ca(&["export", "--out", &file]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), root);
    // `murphy recover` looks through the state directory, and leaves the CA there.
    assert_eq!(murphy(dir.path(), &["recover"]).code, 0);
    assert_eq!(ca(&["export"]).out, root);
    assert!(!root.contains("PRIVATE"));
    if need("openssl", program("openssl", &[]).is_some()) {
        let read = Command::new("openssl")
            .args(["x509", "-in", &path, "-noout", "-subject", "-fingerprint", "-sha256", "-text"])
            .output()
            .unwrap();
        let read = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(read.contains(shown["sha256"].as_str().unwrap()), "{read}");
        assert!(read.contains("CA:TRUE, pathlen:0") && read.contains("Certificate Sign, CRL Sign"), "{read}");
        let list = dir.path().join("list.pem").display().to_string();
        assert_eq!(ca(&["crl", "--out", &list]).code, 0);
        let check =
            Command::new("openssl").args(["crl", "-in", &list, "-CAfile", &path, "-noout"]).output().unwrap();
        assert!(String::from_utf8_lossy(&check.stderr).contains("verify OK"), "{check:?}");
    }
}

#[test]
fn what_is_wrong_with_it_is_said() {
    let dir = TempDir::new();
    let ca = || murphy(dir.path(), &["ca"]);
    assert_eq!(ca().code, 0);
    let key = dir.path().join("state/ca/ca.key");
    let whole = std::fs::read_to_string(&key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let done = ca();
    assert!(done.code == 5 && done.err.contains("chmod 600"), "{done:?}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, &whole[..100]).unwrap();
    let done = ca();
    assert!(
        done.code == 5 && done.err.contains("cut off") && done.err.contains("a new CA is made"),
        "{done:?}"
    );
    // A proxy that needs it says the same and does not start.
    let done = murphy(dir.path(), &["agent", "--proxy", "web=127.0.0.1:0,127.0.0.1:9,tls"]);
    assert!(done.code != 0 && done.err.contains("cut off"), "{done:?}");
}
