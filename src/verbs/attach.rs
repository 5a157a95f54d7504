use super::kube::{cluster, failure};
use super::print;
use crate::cli::Attach;
use crate::failure::{Failure, Outcome};
use pods::attach::{self, Attach as Asked};
use pods::kube::KubeError;
use pods::manifest::{Defaults, Mode};
use serde_json::Value;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How long its image may take to come.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);

/// `murphy attach`: adds the proxy to a pod that runs, and waits until it is there.
pub async fn attach(args: Attach) -> Outcome {
    let defaults: Defaults = args.defaults.into();
    if args.lasts.0.is_zero() {
        return Err(Failure::usage("it would end at once", "say how long it stays: --for 30m"));
    }
    if defaults.mode == Mode::Explicit {
        return Err(Failure::usage(
            "attaching is by redirect: what runs already knows no port of murphy's",
            "leave --mode out",
        ));
    }
    if defaults.tls_secret.is_some() {
        let problem = attach::no_certificates();
        return Err(Failure::Usage(problem));
    }
    let (cluster, namespace) = cluster(&args.cluster)?;
    let token = defaults.token_secret.is_some();
    let pod = cluster.pod(&namespace, &args.pod).await.map_err(|e| failure(&e))?;
    // Names of ephemeral containers are used once.
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_micros());
    let name = format!("murphy-{:x}", nanos & 0xffff_ffff);
    let asked = Asked { name: name.clone(), defaults, lasts: args.lasts };
    let (container, ways) = attach::container(&pod, &asked).map_err(|p| Failure::Cannot(vec![p]))?;
    if let Some(running) = running(&pod) {
        return Err(Failure::cannot(
            format!("murphy is attached to {} already, as {running}", args.pod),
            "use that one, or wait until it ends",
        ));
    }
    cluster.attach(&namespace, &args.pod, &container).await.map_err(|e| match &e {
        // The pod is there, so this is about the container.
        KubeError::Refused { status, said, .. } if matches!(status.as_u16(), 404 | 422) => Failure::cannot(
            format!("the API server adds no such container to {}: {status} {said}", args.pod),
            "Kubernetes does since 1.23; before, have the pod made with a sidecar: murphy sidecar inject --sidecar container",
        ),
        _ => failure(&e),
    })?;
    let begun = Instant::now();
    let mut why = "it has not begun".to_owned();
    while begun.elapsed() < PATIENCE {
        let pod = cluster.pod(&namespace, &args.pod).await.map_err(|e| failure(&e))?;
        let state =
            statuses(&pod).find(|status| status["name"] == name.as_str()).map(|status| &status["state"]);
        match state {
            Some(state) if state["running"].is_object() => {
                let mut said = format!("{name} runs in {}, for {}\n", args.pod, asked.lasts);
                for proxied in ways.proxied() {
                    let _ = writeln!(said, "port {} → proxy:{}", proxied.way.port, proxied.name);
                }
                let _ = match token {
                    true => writeln!(said, "attach to it with: murphy tui --kube SELECTOR --token-file FILE"),
                    false => writeln!(
                        said,
                        "attach to it with: kubectl exec -n {namespace} -it {} -c {name} -- /murphy tui --attach unix:/run/murphy/control/murphy.sock",
                        args.pod
                    ),
                };
                return print(&said);
            }
            Some(state) if state["terminated"].is_object() => {
                let code = &state["terminated"]["exitCode"];
                return Err(Failure::cannot(
                    format!("{name} ended at once, with exit code {code}"),
                    format!("see why: kubectl logs -n {namespace} {} -c {name}", args.pod),
                ));
            }
            Some(state) => {
                let waiting = &state["waiting"];
                let [reason, message] =
                    ["reason", "message"].map(|key| waiting[key].as_str().unwrap_or_default());
                why = format!("{reason} {message}").trim().to_owned();
                if reason.starts_with("Err") || reason.ends_with("BackOff") || reason.starts_with("Invalid") {
                    break;
                }
            }
            None => {}
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::cannot(
        format!("{name} does not run in {}: {why}", args.pod),
        "name an image that the node can get with --image; the container stays in the pod's list until the pod is gone",
    ))
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["status"]["ephemeralContainerStatuses"].as_array().into_iter().flatten()
}

/// A container of ours that was attached before and runs.
fn running(pod: &Value) -> Option<String> {
    let ours = |status: &&Value| status["name"].as_str().is_some_and(|name| name.starts_with("murphy-"));
    let found = statuses(pod).filter(ours).find(|status| status["state"]["running"].is_object())?;
    found["name"].as_str().map(str::to_owned)
}
