//! A mount whose agent, watchdog and log are gone: `murphy doctor` finds it, `--fix` takes it away, and one that is served
//! stays.

use super::ground::Files;
use crate::ground::{kill_both, one_fixes};

#[test]
fn a_mount_that_nobody_serves_is_found_and_taken_away() {
    let Some(mut files) = Files::agent() else { return };
    let _one = one_fixes();
    std::fs::write(files.path("original"), "as it was").unwrap();
    files.open(&serde_json::json!({}));
    // With a fault there is a watchdog.
    files.arm("latency delay=1ms");
    let dead = format!("a mount on {} that nobody serves", files.mount().display());
    for args in [&["doctor"][..], &["doctor", "--fix"]] {
        let said = files.murphy(args);
        assert!(!said.out.contains(&dead) && files.is_mounted(), "{args:?}: {said:?}");
    }
    let home = files.dir.path().to_owned();
    kill_both(&home, || files.kill());
    std::fs::remove_dir_all(home.join("state")).unwrap();
    assert!(files.is_mounted());
    let said = files.murphy(&["doctor"]);
    assert!(said.out.contains(&dead), "{said:?}");
    let done = files.murphy(&["doctor", "--fix"]);
    assert!(done.out.contains(&dead), "{done:?}");
    assert!(!files.is_mounted());
    assert_eq!(std::fs::read_to_string(files.path("original")).unwrap(), "as it was");
}
