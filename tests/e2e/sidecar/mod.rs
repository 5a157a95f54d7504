//! Murphy beside an application: a pod's network in namespaces, manifests, the webhook.

mod deploy;
mod kube;
mod life;
mod manifests;
mod pod;
mod webhook;
