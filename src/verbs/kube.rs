//! Agents in pods, reached through the API server.

use super::tui::console;
use crate::cli::{InCluster, Tui};
use crate::failure::{Failure, Outcome};
use crate::tcp;
use control::{Client, Endpoint};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use pods::kube::{Cluster, KubeError, SocketDir, speaks_tls};
use pods::ways;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// More pods than these are too many for one console.
const MOST: usize = 50;

/// Why something could not be had from the cluster, with advice.
pub fn failure(e: &impl std::fmt::Display) -> Failure {
    let text = e.to_string();
    let (what, hint) = text.split_once("; ").unwrap_or((&text, "look at it with kubectl"));
    Failure::cannot(what, hint)
}

/// The cluster of the kubeconfig, else that of the pod we are in; and the namespace that is meant.
pub fn cluster(which: &InCluster) -> Result<(Arc<Cluster>, String), Failure> {
    let context = which.context.as_deref();
    let found = match &which.kubeconfig {
        Some(file) => Cluster::of_file(file, context),
        None => Cluster::of_kubeconfig(context),
    };
    let cluster = match found {
        Ok(cluster) => cluster,
        Err(e) if which.context.is_some() || which.kubeconfig.is_some() => return Err(failure(&e)),
        Err(e) => Cluster::of_this_pod().map_err(|_| failure(&e))?,
    };
    let namespace = which.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
    Ok((Arc::new(cluster), namespace))
}

/// The console on the sidecars of the pods with these labels.
pub async fn console_of_pods(args: &Tui, selector: &str) -> Outcome {
    let (cluster, namespace) = cluster(&args.cluster)?;
    let shown = &args.shown;
    if shown.token_file.is_none() && shown.cert.is_none() {
        return Err(Failure::usage(
            "sidecars ask for a token or a certificate, and none is given",
            "give what the Secret of murphy.dev/token-secret holds with --token-file, or for murphy.dev/tls-secret --ca, --cert and --key",
        ));
    }
    let token = shown.token_file.as_deref().map(tcp::token).transpose()?;
    let tls = tcp::tls(shown)?;
    let pods = cluster.running_pods(&namespace, selector).await.map_err(|e| failure(&e))?;
    let named = |pod: &Value| Some((pod["metadata"]["name"].as_str()?.to_owned(), speaks_tls(pod)));
    let names: Vec<(String, bool)> = pods.iter().filter_map(named).collect();
    if names.is_empty() {
        return Err(Failure::cannot(
            format!("no pod runs in namespace {namespace} with the labels {selector}"),
            "name other labels, or another namespace with --namespace",
        ));
    }
    if names.len() > MOST {
        return Err(Failure::cannot(
            format!("{} pods have the labels {selector}, and a console shows at most {MOST}", names.len()),
            "name more labels",
        ));
    }
    let cannot = |e: std::io::Error| {
        Failure::cannot(format!("no socket can be made for the pods: {e}"), "set XDG_RUNTIME_DIR")
    };
    let dir = SocketDir::new().map_err(cannot)?;
    let refused: Arc<Mutex<Option<KubeError>>> = Arc::default();
    let mut ends = Vec::new();
    for (name, secure) in names {
        let (listener, path) = dir.listen(&name).map_err(cannot)?;
        let keep = refused.clone();
        let tell = move |e| *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
        let serving = cluster.clone().serve_port(listener, namespace.clone(), name, ways::CONTROL, tell);
        tokio::spawn(serving);
        let end = Endpoint::unix(path).with_token(token.clone());
        ends.push(if secure { end.with_tls(tls.clone()) } else { end });
    }
    one_is_reached(&ends, &refused).await?;
    console(&args.look, ends, args.read_only).await
}

/// The console tells what is wrong with an agent, but not what the API server says: when it lets us reach none, that is
/// told here.
async fn one_is_reached(ends: &[Endpoint], refused: &Mutex<Option<KubeError>>) -> Result<(), Failure> {
    let asked = ends.iter().map(|end| {
        let client = Client::new(end.clone());
        async move { !matches!(client.status().await, Err(e) if e.code().is_none()) }.boxed()
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    while let Some(reached) = asked.next().await {
        if reached {
            return Ok(());
        }
    }
    match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(e) => Err(failure(&e)),
        // Of what else it may be, the console says more.
        None => Ok(()),
    }
}
