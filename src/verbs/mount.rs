use super::print;
use crate::cli::Mount;
use crate::failure::{Failure, Outcome};
use crate::house::{House, Opening, interrupt};
use model::target::{ContainerSpec, FsSpec};
use model::{Target, TargetSpec};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// `murphy mount`: serves a directory until it is interrupted, and then what is open of it until it is closed.
pub async fn mount(args: Mount) -> Outcome {
    let mut stop = interrupt()?;
    let elsewhere = args.pid.is_some() || args.container.is_some();
    let dir = absolute(&args.dir, elsewhere)?;
    let source = args.source.as_deref().map(|s| absolute(s, elsewhere)).transpose()?;
    let spec = FsSpec {
        mount: dir.clone(),
        source,
        pid: args.pid,
        container: args.container.as_deref().map(|name| Box::new(ContainerSpec::named(name))),
        in_use_passes: false,
        track_unsynced: args.track_unsynced,
        writeback: args.writeback,
        passthrough: args.passthrough,
    };
    let targets = vec![Target { name: dir.clone(), spec: TargetSpec::Fs(spec) }];
    let named = args.socket.is_some();
    let opening = Opening { socket: args.socket, targets, ..Opening::default() };
    let house = House::foreground_with("mount", opening).await?;
    // A socket in another place than ours is not found by itself.
    let socket = if named { format!("--socket {} ", house.socket.display()) } else { String::new() };
    print(&format!(
        "fs:{dir} is served; ctrl-c takes it away\narm faults with: murphy arm {socket}fs:{dir} …\n"
    ))?;
    let who = stop.recv().await.unwrap_or("the end of its signals");
    tell!("{who}: taking {dir} away");
    let files = house.files.clone();
    let closed = house.close().await;
    serve_what_is_open(&files, &mut stop).await;
    closed
}

/// Programs that have files open go on with them until they close them, or until someone has had enough.
async fn serve_what_is_open(files: &fusefs::FsInjector, stop: &mut Receiver<&'static str>) {
    if files.in_use() > 0 {
        tell!("files are open still: they are served until they are closed; ctrl-c again cuts them off");
    }
    while files.in_use() > 0 {
        tokio::select! {
            _ = stop.recv() => return,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// A directory as a target names it; within another process's root it must be absolute as it is.
fn absolute(dir: &Path, elsewhere: bool) -> Result<String, Failure> {
    let whole = match elsewhere {
        true => Ok(dir.to_owned()),
        false => dir.canonicalize().or_else(|_| std::path::absolute(dir)),
    };
    let whole = whole.map_err(|e| {
        Failure::usage(format!("{} is not a directory: {e}", dir.display()), "name a directory that exists")
    })?;
    whole.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(
            format!("{} is not a path in UTF-8", whole.display()),
            "targets are named by text: mount a parent directory or rename it",
        )
    })
}
