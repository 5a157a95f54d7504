//! `murphy demo --headless`: the README's promise.

use crate::ground::{TempDir, murphy_in};

fn demo(dir: &TempDir, report: &str, seed: &str) -> (i32, String, serde_json::Value) {
    let done = murphy_in(dir.path())
        .args(["demo", "--headless", "--for", "20s", "--seed", seed, "--report", report])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    let result = std::fs::read_to_string(dir.path().join(report).join("result.json"))
        .unwrap_or_else(|e| panic!("{e}: {text}"));
    (done.status.code().unwrap_or(-1), text, serde_json::from_str(&result).unwrap())
}

#[test]
fn it_holds_while_the_faults_bite_and_leaves_five_files() {
    let dir = TempDir::new();
    let (code, text, result) = demo(&dir, "one", "7");
    assert_eq!(code, 0, "{text}");
    for file in ["journal.jsonl", "result.json", "report.md", "report.html", "junit.xml"] {
        let size = std::fs::metadata(dir.path().join("one").join(file)).unwrap().len();
        assert!(size > 500, "{file} has {size} bytes");
    }
    assert_eq!(result["verdict"], "held");
    for fault in result["faults"].as_array().unwrap() {
        assert!(fault["evidence"]["applied"].as_u64().unwrap() > 0, "{fault}");
        assert_eq!(fault["ending"], "elapsed", "{fault}");
    }
    let added = result["faults"][0]["evidence"]["measured"]["added_ms_mean"].as_f64();
    assert!(added.is_some_and(|ms| ms > 80.0), "payments are slow: {}", result["faults"][0]);
    assert!(result["faults"][0]["time_to_effect_s"].is_number(), "and that is seen: {}", result["faults"][0]);
    let journal = std::fs::read_to_string(dir.path().join("one/journal.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(journal.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "run_ended");
    let (_, _, again) = demo(&dir, "two", "7");
    assert_eq!(result["decisions_digest"], again["decisions_digest"], "one seed, the same decisions");
    let (_, _, other) = demo(&dir, "three", "8");
    assert_ne!(result["decisions_digest"], other["decisions_digest"], "another seed, other decisions");
}
