use crate::cli::{Manifests, SidecarInject};
use crate::failure::{Failure, Outcome, WRONG};
use crate::verbs::print;
use pods::manifest::{self, Changed, Note, Outcome as What};
use std::io::Read;

/// `murphy sidecar inject`
pub fn inject(args: SidecarInject) -> Outcome {
    let text = read(&args.manifests)?;
    let defaults = manifest::Defaults { all: args.all, beside: args.sidecar.into(), ..args.defaults.into() };
    let changed = manifest::inject(&text, &defaults);
    let told = |note: &Note| !matches!(note.what, What::Skipped(_) | What::Rewritten(_));
    if !changed.notes.iter().any(told) {
        tell!(
            "nothing was injected: workloads ask for it with the annotation murphy.dev/inject: \"true\", or all get it with --all"
        );
    }
    finish(&changed)
}

/// `murphy sidecar uninject`
pub fn uninject(args: &Manifests) -> Outcome {
    finish(&manifest::uninject(&read(args)?))
}

fn read(args: &Manifests) -> Result<String, Failure> {
    let name = args.file.display();
    let text = if args.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).and_then(|_| {
            String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not text in UTF-8"))
        })
    } else {
        std::fs::read_to_string(&args.file)
    };
    text.map_err(|e| {
        Failure::usage(
            format!("cannot read {name}: {e}"),
            "name a file with manifests, or - for standard input",
        )
    })
}

/// Prints the manifests, and on standard error what came of each.
fn finish(changed: &Changed) -> Outcome {
    let printed = print(&changed.text)?;
    let mut wrong = false;
    for Note { about, what } in &changed.notes {
        match what {
            What::Injected(ports) => tell!("{about}: injected; {ports}"),
            What::Removed => tell!("{about}: murphy is taken out"),
            What::Skipped(why) => tell!("{about}: left as it is; {why}"),
            What::Rewritten(true) => {
                tell!(
                    "{about}: its document had to be written anew, and its comments are lost (brackets or aliases)"
                );
            }
            What::Rewritten(false) => {
                tell!("{about}: its document had to be written anew (brackets or aliases)")
            }
            What::Refused(problem) | What::Unreadable(problem) => {
                wrong = true;
                let unread =
                    if matches!(what, What::Unreadable(_)) { "left as it is; " } else { "not injected; " };
                let line =
                    problem.place.as_ref().map_or(String::new(), |p| format!(" (line {} of it)", p.line));
                tell!("error: {about}: {unread}{}{line}", problem.what);
                if let Some(hint) = &problem.hint {
                    tell!("  = {hint}");
                }
            }
        }
    }
    Ok(if wrong { WRONG } else { printed })
}
