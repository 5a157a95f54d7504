//! Containers, for injectors whose targets may be inside of one: who finds them is someone else's affair.

use crate::{BoxFuture, Refusal};
use model::TargetRef;
use model::target::ContainerSpec;

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its first process, as this process sees it: its number.
    pub pid: u32,
    /// When that was started, in clock ticks since boot.
    pub start: u64,
}

/// Who finds containers.
pub trait Containers: Send + Sync {
    /// Running containers that fit, oldest first; never none, and exactly one where the spec means one.
    fn find<'a>(
        &'a self,
        target: &'a TargetRef,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Vec<Container>, Refusal>>;
}

/// Finds none: there is nobody to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoContainers;

impl Containers for NoContainers {
    fn find<'a>(
        &'a self,
        target: &'a TargetRef,
        _spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Vec<Container>, Refusal>> {
        Box::pin(async move {
            Err(Refusal::new(
                format!("{target}: containers are not known here"),
                "open it on an agent that knows a container engine",
            ))
        })
    }
}
