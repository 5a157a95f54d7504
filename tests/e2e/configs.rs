//! The experiments in `configs/` run as they are, on the usual ports of a machine of their own; those of `deploy/compose`
//! beside its project.

use crate::ground::{TempDir, murphy};
use std::path::PathBuf;

fn all() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_config_reads() {
    let dir = TempDir::new();
    assert!(all().len() >= 4);
    let shop = ["slow-database", "flaky-cache", "full-disk"]
        .map(|name| PathBuf::from(format!("{}/deploy/compose/{name}.yaml", env!("CARGO_MANIFEST_DIR"))));
    for file in all().into_iter().chain(shop) {
        let done = murphy(dir.path(), &["check", file.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{done:?}");
    }
}

#[test]
fn one_of_them_has_three_lines() {
    let three = all().into_iter().filter(|f| {
        let text = std::fs::read_to_string(f).unwrap();
        text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).count() == 3
    });
    assert!(three.count() >= 1);
}
