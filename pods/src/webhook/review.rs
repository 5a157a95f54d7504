//! An AdmissionReview (admission.k8s.io/v1) and its answer.

use super::patch::diff;
use crate::manifest::{Defaults, INJECT, Note, Outcome, STATUS, inject_object};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no AdmissionReview of admission.k8s.io/v1: {0}")]
pub struct NoReview(&'static str);

/// Answers a review: always that the object is allowed; with a patch when it is a pod whose label asks for murphy, with a
/// warning when it asks and cannot have it.
pub fn answer(review: &Value, defaults: &Defaults) -> Result<Value, NoReview> {
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err(NoReview("its kind or its version is another"));
    }
    let request = &review["request"];
    let uid =
        request["uid"].as_str().filter(|uid| !uid.is_empty()).ok_or(NoReview("the request has no uid"))?;
    let mut response = json!({"uid": uid, "allowed": true});
    match judge(request, defaults) {
        Judged::Leave => {}
        Judged::Warn(why) => response["warnings"] = json!([why]),
        Judged::Patch(patch) => {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64_STANDARD.encode(Value::from(patch).to_string()).into();
        }
    }
    Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

enum Judged {
    Leave,
    Warn(String),
    Patch(Vec<Value>),
}

fn judge(request: &Value, defaults: &Defaults) -> Judged {
    let pod = &request["object"];
    let made = request["operation"] == "CREATE" && request["subResource"].as_str().is_none_or(str::is_empty);
    if !made || pod["kind"] != "Pod" || pod["apiVersion"] != "v1" {
        return Judged::Leave;
    }
    // The API server asks only about pods with the label, when it is told so; whoever told it otherwise did not mean all.
    if pod["metadata"]["labels"][INJECT] != "true" {
        return Judged::Leave;
    }
    // It has it: by a manifest, or by us before another webhook changed something and all are asked again.
    if pod["metadata"]["annotations"][STATUS].is_string() {
        return Judged::Leave;
    }
    let (changed, notes) = inject_object(pod, &Defaults { all: true, ..defaults.clone() });
    match (changed, notes.into_iter().next()) {
        (Some(after), _) => Judged::Patch(diff(pod, &after)),
        (None, Some(Note { what: Outcome::Refused(problem), .. })) => {
            let hint = problem.hint.map_or(String::new(), |hint| format!("; {hint}"));
            Judged::Warn(format!("murphy is not injected: {}{hint}", problem.what))
        }
        (None, _) => Judged::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Beside;

    fn review(pod: &Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "705ab4f5", "operation": "CREATE", "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod,
        }})
    }

    fn pod(labels: &Value, spec: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "labels": labels}, "spec": spec})
    }

    #[test]
    fn only_pods_that_ask_and_can_are_patched() {
        let spec = json!({"containers": [{"name": "web", "image": "web", "ports": [{"containerPort": 80}]}]});
        let asks = json!({"murphy.dev/inject": "true"});
        let response = |review: &Value| answer(review, &Defaults::default()).unwrap()["response"].clone();
        let yes = response(&review(&pod(&asks, &spec)));
        assert!(
            yes["allowed"] == true && yes["uid"] == "705ab4f5" && yes["patchType"] == "JSONPatch",
            "{yes}"
        );
        for labels in [json!({}), json!({"murphy.dev/inject": "false"}), Value::Null] {
            let no = response(&review(&pod(&labels, &spec)));
            assert_eq!(no, json!({"uid": "705ab4f5", "allowed": true}));
        }
        let mut host = spec.clone();
        host["hostNetwork"] = true.into();
        let warned = response(&review(&pod(&asks, &host)));
        assert!(
            warned["warnings"][0].as_str().unwrap().contains("hostNetwork") && warned["patch"].is_null(),
            "{warned}"
        );
        let mut update = review(&pod(&asks, &spec));
        update["request"]["operation"] = "UPDATE".into();
        assert!(response(&update)["patch"].is_null());
        // What it has already is left alone.
        let (after, _) = inject_object(&pod(&asks, &spec), &Defaults { all: true, ..Defaults::default() });
        assert!(response(&review(&after.unwrap()))["patch"].is_null());
        // Where there are no native sidecars, one container more, after the others, which keep their places.
        let container = Defaults { beside: Beside::Container, ..Defaults::default() };
        let patched = answer(&review(&pod(&asks, &spec)), &container).unwrap()["response"].clone();
        let patch = BASE64_STANDARD.decode(patched["patch"].as_str().unwrap()).unwrap();
        let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
        let of = |path: &str| patch.iter().find(|op| op["path"] == path).cloned().unwrap_or_default();
        let added = of("/spec/containers/1");
        assert!(added["op"] == "add" && added["value"]["name"] == "murphy", "{patch:?}");
        assert!(
            of("/spec/containers").is_null() && of("/spec/initContainers")["value"][1].is_null(),
            "{patch:?}"
        );
        assert!(answer(&json!({"kind": "Pod"}), &Defaults::default()).is_err());
        assert!(
            answer(
                &json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}),
                &Defaults::default()
            )
            .is_err()
        );
    }
}
