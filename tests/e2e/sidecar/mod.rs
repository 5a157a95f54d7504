//! Murphy beside an application: a pod's network in namespaces, manifests, the webhook.

mod life;
mod manifests;
mod pod;
