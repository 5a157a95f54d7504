//! The filesystem as programs use it. All of it happens in a mount namespace of its own, so that nothing is left of it
//! when the tests end, however they end.

mod ground;
mod intercept;
mod life;
mod passing;
mod unsynced;
mod wrong;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    if let Err(why) = ground::enter() {
        if std::env::var("MURPHY_E2E").is_ok_and(|v| v == "require") {
            eprintln!("the filesystem cannot be tested here: {why}");
            std::process::exit(1);
        }
        eprintln!("skipped: {why}");
        return;
    }
    ground::release_on_panic();
    let tests = [passing::TESTS, wrong::TESTS, intercept::TESTS, unsynced::TESTS, life::TESTS].concat();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
