//! Every file in `malformed/` is wrong; what is said about it is kept as a snapshot, so that a change of words is seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[test]
fn every_malformed_file_has_its_message() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 40, "only {} files", files.len());
    let mut all = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let source = std::fs::read_to_string(&file).unwrap();
        let problems = match murphy_model::experiment::read(name, &source, &BTreeMap::new()) {
            Ok(_) => panic!("{name} was read"),
            Err(problems) => problems,
        };
        // The deep file would fill the page with brackets.
        let text: String =
            problems.to_string().lines().map(|l| l.chars().take(200).collect::<String>() + "\n").collect();
        all.push_str(&format!("=== {name}\n{text}\n"));
    }
    insta::assert_snapshot!("malformed", all);
}

#[test]
fn set_overrides_and_must_be_used() {
    let file = "murphy: 1\nvars: {slow: 400ms}\ntargets: {web: {proxy: {listen: ':1', upstream: 'a:2'}}}\nstages: [{faults: [{target: web, for: 5s, inject: {latency: {delay: '${slow}'}}}]}]\n";
    let set = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let read = murphy_model::experiment::read("a.yaml", file, &set(&[("slow", "1s")])).unwrap();
    assert_eq!(read.faults().next().unwrap().fault.inject.describe(), "latency 1s");
    assert_eq!(read.name, "a");
    let unused =
        murphy_model::experiment::read("a.yaml", file, &set(&[("slwo", "1s")])).unwrap_err().to_string();
    assert!(unused.contains("--set slwo"), "{unused}");
}

#[test]
fn the_schema_knows_every_fault_and_parameter() {
    let schema = murphy_model::experiment::schema();
    let inject = &schema["$defs"]["inject"]["properties"];
    for def in murphy_model::catalogue::all() {
        for param in def.params {
            assert!(inject[def.name]["properties"].get(param.name).is_some(), "{} {}", def.name, param.name);
        }
    }
}
