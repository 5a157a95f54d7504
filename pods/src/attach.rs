//! Murphy beside an application that runs already: an ephemeral container, which Kubernetes adds to a pod as it is.
//!
//! It installs the redirect as its own, so that the rules end with it, and becomes a user without capabilities. It cannot be
//! taken out of the pod, so it has an end of its own.

use crate::manifest::{self, Defaults};
use crate::ways::{self, Ways};
use model::Problem;
use model::units::Span;
use serde_json::{Value, json};

/// What is attached.
#[derive(Debug, Clone)]
pub struct Attach {
    /// The container's name.
    pub name: String,
    /// What it gets: image, ports, user, token.
    pub defaults: Defaults,
    /// When it ends.
    pub lasts: Span,
}

/// The container for a pod, as the API server has it; and the ports that will lead through it.
pub fn container(pod: &Value, asked: &Attach) -> Result<(Value, Ways), Problem> {
    let ways = manifest::ways_of(pod, &asked.defaults)?;
    if asked.defaults.tls_secret.is_some() {
        return Err(no_certificates());
    }
    let mut args = vec!["sidecar".to_owned(), "run".to_owned(), "--owned".to_owned()];
    args.push(format!("--uid={}", asked.defaults.user));
    for (flag, list) in [("inbound", &ways.inbound), ("outbound", &ways.outbound)] {
        if !list.is_empty() {
            args.push(format!("--{flag}={}", ways::write_list(list)));
        }
    }
    args.push(format!("--for={}", asked.lasts));
    let mut env = vec![
        json!({"name": "MURPHY_STATE_DIR", "value": "/run/murphy/state"}),
        json!({"name": "MURPHY_SOCKET", "value": "/run/murphy/control/murphy.sock"}),
    ];
    if let Some(secret) = &asked.defaults.token_secret {
        args.push(format!("--control={}", ways::CONTROL));
        args.push("--token-env=MURPHY_TOKEN".to_owned());
        let token = json!({"secretKeyRef": {"name": secret, "key": "token"}});
        env.push(json!({"name": "MURPHY_TOKEN", "valueFrom": token}));
    }
    let container = json!({
        "name": asked.name,
        "image": asked.defaults.image,
        "args": args,
        "env": env,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN", "SETGID", "SETUID"], "drop": ["ALL"]},
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    Ok((container, ways))
}

/// Why what is attached has no certificates.
pub fn no_certificates() -> Problem {
    Problem::new("a container that is added to a pod that runs cannot mount a Secret with certificates")
        .hint("give it a token with --token-secret, or give the pod murphy in its manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_for_a_pod_that_runs() {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
            {"name": "web", "ports": [{"containerPort": 8080, "name": "http"}]},
        ]}});
        let defaults =
            Defaults { outbound: "db=5432".into(), token_secret: Some("t".into()), ..Defaults::default() };
        let asked = Attach { name: "murphy-1".into(), defaults, lasts: "1h".parse().unwrap() };
        let (made, ways) = container(&pod, &asked).unwrap();
        let args: Vec<_> = made["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let want = [
            "sidecar",
            "run",
            "--owned",
            "--uid=2102",
            "--inbound=http=8080",
            "--outbound=db=5432",
            "--for=1h",
            "--control=15090",
            "--token-env=MURPHY_TOKEN",
        ];
        assert_eq!(args, want);
        assert_eq!(ways.inbound.len(), 1);
        assert!(!made.to_string().contains("ports\""));
        let secure = Attach {
            defaults: Defaults { tls_secret: Some("t".into()), ..Defaults::default() },
            ..asked.clone()
        };
        assert!(container(&pod, &secure).unwrap_err().to_string().contains("--token-secret"));
        pod["spec"]["hostNetwork"] = true.into();
        assert!(container(&pod, &asked).unwrap_err().to_string().contains("hostNetwork"));
        pod["spec"]["hostNetwork"] = false.into();
        pod["spec"]["initContainers"] = json!([{"name": "murphy"}]);
        assert!(container(&pod, &asked).is_err());
    }
}
