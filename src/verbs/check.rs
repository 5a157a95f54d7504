use super::print;
use crate::cli::Check;
use crate::failure::{Failure, Outcome, WRONG};
use model::Experiment;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Larger files are no experiments; nothing is read to the end of `/dev/zero`.
const LARGEST: u64 = 2 << 20;

/// `murphy check`: all problems of all files.
pub fn check(args: &Check) -> Outcome {
    let mut code = 0;
    for (i, file) in args.files.iter().enumerate() {
        match read(file, &args.set) {
            Ok((experiment, _)) => {
                let (stages, faults) = (experiment.stages.len(), experiment.faults().count());
                let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
                print(&format!(
                    "{}: {}, {} in {}, {}\n",
                    file.display(),
                    experiment.name,
                    count(faults, "fault"),
                    count(stages, "stage"),
                    experiment.lasts()
                ))?;
            }
            Err(failure) => {
                let gap = if i > 0 { "\n" } else { "" };
                tell!("{gap}{failure}");
                code = WRONG.max(code);
            }
        }
    }
    Ok(code)
}

/// Reads an experiment file, or standard input when it is `-`; gives its text too.
pub fn read(file: &Path, set: &[(String, String)]) -> Result<(Experiment, String), Failure> {
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        match std::fs::File::open(file) {
            Ok(file) => Box::new(file),
            Err(e) => return Err(Failure::usage(format!("cannot open {name}: {e}"), hint(&e))),
        }
    };
    if let Err(e) = source.take(LARGEST).read_to_end(&mut bytes) {
        return Err(Failure::usage(format!("cannot read {name}: {e}"), hint(&e)));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        Failure::usage(
            format!("{name} is not text: byte {} is not UTF-8", e.utf8_error().valid_up_to()),
            "an experiment is a YAML file in UTF-8",
        )
    })?;
    let set: BTreeMap<String, String> = set.iter().cloned().collect();
    Ok((model::experiment::read(&name, &text, &set)?, text))
}

fn hint(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::NotFound => "check the path; configs/ has files to begin with",
        std::io::ErrorKind::IsADirectory => "give a file in it",
        _ => "check that you may read it",
    }
}
