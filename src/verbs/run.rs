use super::check::read;
use super::{pretty, print};
use crate::cli::{self, Run};
use crate::failure::{Failure, Outcome};
use crate::house::{House, Opening, interrupt};
use engine::run::{self, Options};
use model::experiment::Confirm;
use model::{Experiment, RunRecord};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// `murphy run`: its own agent, the experiment, the verdict as exit code.
pub async fn run(args: Run) -> Outcome {
    // Read before signals are ours: a file that is typed at the terminal, or a pipe that never ends, is left by ctrl-c.
    let (experiment, _) = read(&args.file, &args.set)?;
    let mut stop = interrupt()?;
    let base = args.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    if args.dry_run {
        return dry_run(&args, &experiment, &base).await;
    }
    agree(&args, &experiment, &mut stop).await?;
    let dir = engine::report::directory(args.report.as_deref(), &experiment);
    let opening = Opening {
        lease: Some(experiment.safety.lease),
        otlp: args.export.collector()?,
        ..Opening::default()
    };
    let house = House::foreground_with("run", opening).await?;
    let options = Options {
        seed: args.seed,
        dir,
        formats: experiment.report.formats.clone(),
        base,
        by: host::privilege::user(),
    };
    let handle = match run::start(house.agent.clone(), experiment, options).await {
        Ok(handle) => handle,
        Err(problems) => {
            house.close().await?;
            return Err(Failure::Cannot(problems));
        }
    };
    // So that others see it over the API, and can end it.
    house.service.adopt(&handle, &host::privilege::user());
    let progress = handle.progress.clone();
    let record = if args.tui {
        on_console(&args.look, &house, handle).await
    } else {
        in_lines(args.output, &house, handle, &mut stop).await
    };
    let closed = house.close().await;
    let record = record?;
    let code = finish(args.output, &record, written(&progress).as_deref())?;
    closed.map(|_| code)
}

async fn dry_run(args: &Run, experiment: &Experiment, base: &Path) -> Outcome {
    let house = House::foreground_with("run", Opening { dry: true, ..Opening::default() }).await?;
    let planned = run::dry_run(&house.agent, experiment, args.seed, base).await;
    house.close().await?;
    let lines = planned.map_err(Failure::Cannot)?;
    if args.output.json {
        return print(&(pretty(&lines) + "\n"));
    }
    print(&(lines.join("\n") + "\nnothing was touched\n"))
}

/// Follows a run as lines of text until it ends; a signal ends it early.
pub async fn in_lines(
    output: cli::Output,
    house: &House,
    handle: run::RunHandle,
    stop: &mut tokio::sync::mpsc::Receiver<&'static str>,
) -> Result<RunRecord, Failure> {
    let mut events = house.agent.subscribe(Some(1));
    let mut record = handle.record;
    let tell = |item: engine::Item| {
        if let engine::Item::Event(event) = item
            && !output.json
            && let Some(line) = tui::plain::line(&event)
        {
            let _ = print(&(line + "\n"));
        }
    };
    let ended = loop {
        tokio::select! {
            biased;
            Some(who) = stop.recv() => {
                tell!("{who}: ending the run and taking everything back");
                // It may be over in this very moment.
                let _ = handle.end.send(who.to_owned()).await;
            }
            ended = &mut record => break ended,
            item = events.next() => tell(item),
        }
    };
    while let Some(item) = events.try_next() {
        tell(item);
    }
    ended.map_err(|e| {
        Failure::cannot(format!("the run broke: {e}"), "`murphy recover` takes back what it left")
    })
}

/// Shows a run on the console; leaving the console ends it.
async fn on_console(look: &cli::Look, house: &House, handle: run::RunHandle) -> Result<RunRecord, Failure> {
    super::tui::console(look, vec![house.client().endpoint().clone()], false).await?;
    // Over already, or ended now.
    let _ = handle.end.send("whoever left the console".to_owned()).await;
    handle.record.await.map_err(|e| {
        Failure::cannot(format!("the run broke: {e}"), "`murphy recover` takes back what it left")
    })
}

/// Tells the verdict and where the report was written; gives the exit code.
pub fn finish(output: cli::Output, record: &RunRecord, dir: Option<&Path>) -> Outcome {
    if output.json {
        print(&(pretty(record) + "\n"))?;
    } else {
        print(&format!("\n{}: {}\n{}\n", record.name, record.verdict.word().to_uppercase(), record.why))?;
        for m in &record.metrics {
            let mark = match m.result {
                model::event::WindowResult::Pass => "✔",
                model::event::WindowResult::Fail => "✘",
                model::event::WindowResult::Unknown => "?",
            };
            let value = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.1}{}", m.unit));
            print(&format!(
                "  {mark} {:<18} {:<12} before {:>9}  worst {:>9}  after {:>9}\n",
                m.name,
                m.expect,
                value(m.baseline),
                value(m.worst),
                value(m.after)
            ))?;
        }
        for f in &record.faults {
            let effect = match f.time_to_effect_s {
                Some(s) => format!(", effect after {s:.1} s in {}", f.effect_in.as_deref().unwrap_or("?")),
                // Where nobody looks none can be seen.
                None if record.metrics.is_empty() || f.armed_s.is_none() => String::new(),
                None => ", no effect seen".to_owned(),
            };
            let healed =
                f.healing_s.map_or(String::new(), |s| format!(", back to normal {s:.1} s after its end"));
            let hit = engine::report::hit(f);
            let word = if f.armed_s.is_some() && f.failure.is_none() { "hit " } else { "" };
            print(&format!("  · {:<18} {word}{hit}{effect}{healed}\n", f.id))?;
        }
        match dir {
            Some(dir) => print(&format!(
                "report: {}\nseed {}: the same seed decides the same again\n",
                page(dir).display(),
                record.seed
            ))?,
            None => print(&format!(
                "seed {}: the same seed decides the same again; --report DIR keeps a report\n",
                record.seed
            ))?,
        };
    }
    Ok(record.verdict.exit_code())
}

/// Where the report of a run that is over lies; none when it has none, or could not write it.
pub fn written(progress: &tokio::sync::watch::Receiver<run::RunProgress>) -> Option<PathBuf> {
    progress.borrow().report.clone().map(PathBuf::from)
}

/// What to open of a report: the page, when the file asked for one.
fn page(dir: &Path) -> PathBuf {
    let html = dir.join("report.html");
    if html.is_file() { html } else { dir.to_owned() }
}

/// Asks a person where the file wants that.
async fn agree(
    args: &Run,
    experiment: &Experiment,
    stop: &mut tokio::sync::mpsc::Receiver<&'static str>,
) -> Result<(), Failure> {
    if args.yes || experiment.safety.confirm == Confirm::None {
        return Ok(());
    }
    let typed = experiment.safety.confirm == Confirm::Typed;
    let refuse = |what: String| {
        let hint = if typed {
            format!("answer with the name, or give --confirm {} or --yes", experiment.name)
        } else {
            "answer y, or give --yes".to_owned()
        };
        Failure::usage(what, hint)
    };
    if let Some(name) = &args.confirm {
        return if *name == experiment.name {
            Ok(())
        } else {
            Err(refuse(format!("--confirm {name} is not the experiment's name")))
        };
    }
    if !std::io::stdin().is_terminal() {
        return Err(refuse(
            "this experiment asks for a confirmation, and there is no terminal to ask at".to_owned(),
        ));
    }
    for planned in experiment.faults() {
        tell!("  {} on {}", planned.fault.describe(), planned.fault.target);
    }
    let question =
        if typed { format!("type {} to start:", experiment.name) } else { "start? [y/N]".to_owned() };
    let _ = write!(std::io::stderr(), "{question} ").and_then(|()| std::io::stderr().flush());
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = tokio::select! {
        // Signals are ours from the start, so the terminal's own do not end us.
        who = stop.recv() => {
            let _ = writeln!(std::io::stderr());
            return Err(refuse(format!("{} instead of an answer: nothing was started", who.unwrap_or("the end"))));
        }
        answer = read => answer,
    };
    let agreed = |answer: &str| match typed {
        true => answer == experiment.name,
        false => matches!(answer, "y" | "Y" | "yes"),
    };
    match answer {
        Ok(Ok(answer)) if agreed(answer.trim()) => Ok(()),
        _ => Err(refuse("not confirmed: nothing was started".to_owned())),
    }
}
