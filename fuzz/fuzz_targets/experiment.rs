//! Experiment files: any text is read or refused with a message that can be printed.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match model::experiment::read("fuzz.yaml", text, &Default::default()) {
        Ok(experiment) => drop(experiment.decisions_digest(1)),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
