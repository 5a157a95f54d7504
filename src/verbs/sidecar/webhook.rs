use crate::cli::SidecarWebhook;
use crate::failure::{Failure, Outcome};
use crate::house::interrupt;
use crate::verbs::print;
use pods::kube::Cluster;
use pods::manifest::{Beside, Defaults};
use pods::webhook::{self, CertificateError, Certificates};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the API server still believes us: someone may have applied the manifests anew.
const LOOK: Duration = Duration::from_secs(60);
/// The first version with native sidecars, unless someone has switched them off.
const NATIVE: (u32, u32) = (1, 29);
/// How long until a call that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// `murphy sidecar webhook`: answers until it is interrupted.
pub async fn webhook(args: SidecarWebhook) -> Outcome {
    let mut stop = interrupt()?;
    let dir = args.certs.unwrap_or_else(|| host::dirs::state().join("webhook"));
    let certificates = Certificates::open(&dir, &args.name, args.lifetime.0).map_err(|e| {
        let text = e.to_string();
        let (what, hint) = text.split_once("; ").unwrap_or((&text, "look at its directory"));
        match e {
            CertificateError::Name(_) | CertificateError::Lifetime(_) => Failure::usage(what, hint),
            _ => Failure::cannot(what, hint),
        }
    })?;
    if let Some(file) = &args.ca_out {
        std::fs::write(file, certificates.authority()).map_err(|e| {
            Failure::cannot(
                format!("cannot write {}: {e}", file.display()),
                "choose a file that can be written",
            )
        })?;
    }
    let cluster = args.configure.is_some().then(Cluster::of_this_pod).transpose().map_err(|e| {
        let text = e.to_string();
        let (what, hint) = text.split_once("; ").unwrap_or((&text, "leave --configure out"));
        Failure::cannot(what, hint)
    })?;
    let mut bound = tokio::net::TcpListener::bind(args.listen).await;
    if bound.is_err() && args.listen.is_ipv6() && args.listen.ip().is_unspecified() {
        // All addresses are those of IPv4 where there are no others.
        bound = tokio::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, args.listen.port())).await;
    }
    let listener = bound.map_err(|e| {
        Failure::cannot(
            format!("cannot listen on {}: {e}", args.listen),
            "choose another address with --listen",
        )
    })?;
    let address = listener.local_addr().map_or_else(|_| args.listen.to_string(), |a| a.to_string());
    print(&format!("murphy webhook on https://{address}{}, as {}\n", webhook::PATH, args.name.join(", ")))?;
    let mut defaults: Defaults = args.defaults.into();
    defaults.beside = match (args.sidecar, &cluster) {
        (Some(kind), _) => kind.into(),
        (None, None) => Beside::default(),
        // Nobody is answered before: an API server without native sidecars would refuse pods that get one.
        (None, Some(cluster)) => tokio::select! {
            beside = choose(cluster) => beside,
            _ = stop.recv() => return Ok(0),
        },
    };
    if let (Some(cluster), Some(configuration)) = (cluster, args.configure) {
        tokio::spawn(stay_trusted(cluster, configuration, certificates.clone()));
    }
    let fresh = certificates.clone();
    tokio::spawn(async move {
        let told = |made: Result<(), _>| match made {
            Ok(()) => tell!("the certificate is a new one"),
            Err(e) => tell!("warning: {e}; the old certificate is used on"),
        };
        fresh.keep_fresh(told).await;
    });
    tokio::select! {
        served = webhook::serve(listener, certificates, defaults) => match served {
            Ok(never) => match never {},
            Err(e) => Err(Failure::cannot(format!("TLS cannot be served: {e}"), "this should not happen")),
        },
        who = stop.recv() => {
            tell!("{}: no more pods get murphy", who.unwrap_or("the end of its signals"));
            Ok(0)
        }
    }
}

/// What kind of container the API server takes, once it says what it is.
async fn choose(cluster: &Cluster) -> Beside {
    let mut failed = false;
    loop {
        match cluster.version().await {
            Ok(version) if version >= NATIVE => return Beside::Native,
            Ok((major, minor)) => {
                tell!(
                    "the API server is of Kubernetes {major}.{minor}, without native sidecars: pods get a container like their others"
                );
                return Beside::Container;
            }
            Err(e) => {
                if !failed {
                    tell!(
                        "warning: {e}; tried again every {} s, and no pod gets murphy until then",
                        AGAIN.as_secs()
                    );
                }
                failed = true;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Has the API server believe our authority, and looks now and then whether it still does.
async fn stay_trusted(cluster: Cluster, configuration: String, certificates: Arc<Certificates>) {
    let mut failed = false;
    loop {
        match cluster.trust_webhook(&configuration, certificates.authority()).await {
            Ok(news) => {
                if news {
                    tell!("the API server believes {configuration} now");
                }
                failed = false;
                tokio::time::sleep(LOOK).await;
            }
            Err(e) => {
                if !failed {
                    tell!("warning: {e}; tried again every {} s", AGAIN.as_secs());
                }
                failed = true;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
