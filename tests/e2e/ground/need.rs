use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether something the test needs is there; when it is not, says so and counts the skip, or fails where everything is
/// required.
pub fn need(what: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var("MURPHY_E2E").as_deref() != Ok("require"), "needs {what}, which is not here");
        // Past the test runner's capture, so that a skip is seen.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: needs {what}, which is not here");
    }
    there
}

/// Whether we are root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program of that name, where distributions put it.
pub fn program(name: &str, also: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into))
        .chain(also.iter().map(Into::into));
    dirs.map(|dir: std::path::PathBuf| dir.join(name)).find(|file| Path::is_file(file))
}

/// Of all tests one at a time has faults on this machine as a whole: agents do not share it. Kept until its agent has ended.
pub struct WholeMachine {
    _of_these: MutexGuard<'static, ()>,
    _of_others: Option<File>,
}

/// Waits until it is this test's turn; tests of other checkouts are waited for as well.
pub fn this_machine() -> WholeMachine {
    static ONE: Mutex<()> = Mutex::new(());
    let of_these = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Another user's file cannot be opened; then it is as it would be without.
    let file = std::env::temp_dir().join("murphy-tests-whole-machine.lock");
    let of_others = File::options().create(true).append(true).open(file).ok();
    WholeMachine { _of_these: of_these, _of_others: of_others.filter(|file| file.lock().is_ok()) }
}

/// Of all tests one at a time leaves something for `murphy doctor --fix`, which takes what anybody's dead agents have left.
pub fn one_fixes() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
