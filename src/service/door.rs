//! What the Toxiproxy door asks beyond the API.

use super::{EngineService, failure};
use control::wire::{Code, Failure};
use control::{Answer, Caller};
use futures::future::BoxFuture;
use model::{Injection, Share, Target, TargetRef};

impl control::toxiproxy::Ground for EngineService {
    fn spec(&self, target: &TargetRef) -> Option<Target> {
        self.agent.target(target)
    }

    fn shut(&self, target: TargetRef, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            if self.agent.target(&target).is_none() {
                return Err(Failure::new(Code::NotFound, format!("there is no target {target}")));
            }
            self.agent.close(&target).await.map_err(failure)
        })
    }

    fn change(&self, id: String, inject: Injection, share: Share, by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            let change = engine::Change { share: Some(share), ..engine::Change::inject(inject) };
            self.agent.adjust(&id, change, &by.to_string()).await.map(drop).map_err(failure)
        })
    }
}
