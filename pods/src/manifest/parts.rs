//! What a pod gets: the container that installs the redirect, the proxy beside the application, and their volumes.

use super::options::{Beside, Mode, Options};
use super::tree::Node;
use crate::ways::{self, Ways};

/// The container that installs the redirect and ends.
pub(super) const INIT: &str = "murphy-redirect";
/// The proxy.
pub(super) const SIDECAR: &str = "murphy";
/// Where its socket and its state are.
pub(super) const STATE: &str = "murphy-state";
/// The token of its control API.
pub(super) const TOKEN: &str = "murphy-token";
/// The certificate of its control API, and whose callers may come.
pub(super) const TLS: &str = "murphy-tls";

const PLACE: &str = "/run/murphy";
const TOKEN_PLACE: &str = "/run/murphy-token";
const TLS_PLACE: &str = "/run/murphy-tls";

/// Volumes of the containers.
pub(super) fn volumes(options: &Options) -> Vec<Node> {
    let memory = Node::map([("medium", Node::text("Memory")), ("sizeLimit", Node::text("16Mi"))]);
    let mut all = vec![Node::map([("name", Node::text(STATE)), ("emptyDir", memory)])];
    for (name, secret) in secrets(options) {
        let secret = Node::map([("secretName", Node::text(secret))]);
        all.push(Node::map([("name", Node::text(name)), ("secret", secret)]));
    }
    all
}

/// Secrets that the proxy alone mounts, by their volumes.
fn secrets(options: &Options) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [(TOKEN, &options.token_secret), (TLS, &options.tls_secret)];
    all.into_iter().filter_map(|(name, secret)| Some((name, secret.as_deref()?)))
}

fn ports(ways: &Ways) -> Vec<String> {
    let mut args = Vec::new();
    for (flag, list) in [("inbound", &ways.inbound), ("outbound", &ways.outbound)] {
        if !list.is_empty() {
            args.push(format!("--{flag}={}", ways::write_list(list)));
        }
    }
    args
}

/// The container that installs the redirect, before all others.
pub(super) fn redirect(options: &Options, ways: &Ways, probes: &[(u16, u16)]) -> Node {
    let mut args = vec!["sidecar".to_owned(), "init".to_owned(), format!("--uid={}", options.user)];
    args.extend(ports(ways));
    if !probes.is_empty() {
        let list: Vec<String> = probes.iter().map(|(from, to)| format!("{from}:{to}")).collect();
        args.push(format!("--probe={}", list.join(",")));
    }
    let capabilities = Node::map([("add", Node::words(["NET_ADMIN"])), ("drop", Node::words(["ALL"]))]);
    Node::map([
        ("name", Node::text(INIT)),
        ("image", Node::text(options.image.as_str())),
        ("args", Node::words(args)),
        ("resources", resources("64Mi")),
        (
            "securityContext",
            Node::map([
                ("allowPrivilegeEscalation", Node::plain(false)),
                ("capabilities", capabilities),
                ("readOnlyRootFilesystem", Node::plain(true)),
                // What a user other than root could add to its capabilities, Kubernetes does not say.
                ("runAsGroup", Node::plain(0)),
                ("runAsNonRoot", Node::plain(false)),
                ("runAsUser", Node::plain(0)),
                ("seccompProfile", Node::map([("type", Node::text("RuntimeDefault"))])),
            ]),
        ),
    ])
}

/// The proxy.
pub(super) fn sidecar(options: &Options, ways: &Ways) -> Node {
    let mut args = vec!["sidecar".to_owned(), "run".to_owned()];
    if options.mode == Mode::Redirect {
        args.extend(ports(ways));
    }
    args.extend(options.proxies.iter().map(|proxy| format!("--proxy={proxy}")));
    let mount = |name: &str, place: &str| [("mountPath", Node::text(place)), ("name", Node::text(name))];
    let mut mounts = vec![Node::map(mount(STATE, PLACE))];
    if secrets(options).next().is_some() {
        args.push(format!("--control={}", ways::CONTROL));
    }
    for (volume, _) in secrets(options) {
        let place = if volume == TLS {
            let file = |flag: &str, name: &str| format!("--{flag}={TLS_PLACE}/{name}");
            args.extend([
                file("tls-cert", "tls.crt"),
                file("tls-key", "tls.key"),
                file("tls-client-ca", "ca.crt"),
            ]);
            args.extend(options.roles.iter().map(|role| format!("--role={role}")));
            TLS_PLACE
        } else {
            args.push(format!("--token-file={TOKEN_PLACE}/token"));
            TOKEN_PLACE
        };
        let [at, name] = mount(volume, place);
        mounts.push(Node::map([at, name, ("readOnly", Node::plain(true))]));
    }
    let env =
        |name: &str, value: String| Node::map([("name", Node::text(name)), ("value", Node::text(value))]);
    let ready = Node::words(["/murphy", "sidecar", "ready"]);
    let mut all = vec![
        ("name", Node::text(SIDECAR)),
        ("image", Node::text(options.image.as_str())),
        ("args", Node::words(args)),
        (
            "env",
            Node::list([
                env("MURPHY_STATE_DIR", format!("{PLACE}/state")),
                env("MURPHY_SOCKET", format!("{PLACE}/control/murphy.sock")),
            ]),
        ),
        ("resources", resources("128Mi")),
        (
            "securityContext",
            Node::map([
                ("allowPrivilegeEscalation", Node::plain(false)),
                ("capabilities", Node::map([("drop", Node::words(["ALL"]))])),
                ("readOnlyRootFilesystem", Node::plain(true)),
                ("runAsGroup", Node::plain(options.user)),
                ("runAsNonRoot", Node::plain(true)),
                ("runAsUser", Node::plain(options.user)),
                ("seccompProfile", Node::map([("type", Node::text("RuntimeDefault"))])),
            ]),
        ),
    ];
    if options.beside == Beside::Native {
        // Beside the application, and over when it is over.
        all.insert(5, ("restartPolicy", Node::text("Always")));
    }
    // Others start when it is up, or are reached through it. Beside them with a redirect it would only keep the pod from being
    // ready after it was started anew: on old kubelets for more than a minute.
    if options.beside == Beside::Native || options.mode == Mode::Explicit {
        all.push((
            "startupProbe",
            Node::map([
                ("exec", Node::map([("command", ready)])),
                ("failureThreshold", Node::plain(60)),
                ("periodSeconds", Node::plain(1)),
                ("timeoutSeconds", Node::plain(5)),
            ]),
        ));
    }
    all.push(("volumeMounts", Node::list(mounts)));
    Node::map(all)
}

fn resources(memory: &str) -> Node {
    let requests = [("cpu", Node::text("10m")), ("memory", Node::text("16Mi"))];
    Node::map([("limits", Node::map([("memory", Node::text(memory))])), ("requests", Node::map(requests))])
}
