//! One handler for each operation of the route table.

use super::asked::{
    holdable, number, stub_target, target_in, which_connections, which_operations, which_requests,
};
use super::guard::Door;
use super::http::{self, Body};
use super::sse;
use crate::caller::Caller;
use crate::connections::{Close, HOLD_LEASE};
use crate::openapi;
use crate::requests::{self, HoldOrder, TopBy};
use crate::routes::{self, Found, Operation, Route};
use crate::service::{Answer, Audit};
use crate::wire::{Code, Failure, Status, possible};
use ::http::header::{HeaderMap, HeaderValue};
use ::http::{Request, Response};
use hyper::body::Incoming;
use model::units::Span;
use model::{Fault, TargetRef};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// The header that tells one life of an agent from the next.
pub(crate) const INSTANCE: &str = "murphy-instance";

pub(super) async fn answer(
    door: &Door,
    caller: Option<Caller>,
    request: Request<Incoming>,
    end: watch::Receiver<bool>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = match door.admit(caller, &head.headers, head.uri.authority().map(|a| a.as_str())) {
        Err(failure) => http::failure(&failure, &[]),
        Ok(caller) => match routes::find(head.method.as_str(), head.uri.path()) {
            Found::Nothing => http::failure(
                &Failure::new(Code::NotFound, format!("there is nothing at {}", head.uri.path()))
                    .hint("GET /api/v1/openapi.json lists what there is"),
                &[],
            ),
            Found::Methods(allow) => http::failure(
                &Failure::new(
                    Code::MethodNotAllowed,
                    format!("{} does not take {}", head.uri.path(), head.method),
                )
                .hint(format!("it takes {}", allow.join(", "))),
                &allow,
            ),
            Found::Route(route, param) => {
                let call =
                    Call { door, route, param, headers: head.headers, query: head.uri.query(), caller, end };
                call.answer(head.method == ::http::Method::HEAD, body).await
            }
        },
    };
    if let Ok(value) = HeaderValue::from_str(&door.instance) {
        response.headers_mut().insert(INSTANCE, value);
    }
    response
}

/// The answer to plain HTTP where TLS is spoken.
pub(super) fn speaks_tls(instance: &str) -> Response<Body> {
    let failure = Failure::new(Code::BadRequest, "this agent speaks TLS here, and was asked without").hint(
        "write https:// in place of http://; for murphy, name the authority of its certificate with --ca",
    );
    let mut response = http::failure(&failure, &[]);
    if let Ok(value) = HeaderValue::from_str(instance) {
        response.headers_mut().insert(INSTANCE, value);
    }
    response
}

/// One call that found its route.
struct Call<'a> {
    door: &'a Door,
    route: &'static Route,
    param: Option<String>,
    headers: HeaderMap,
    query: Option<&'a str>,
    caller: Caller,
    end: watch::Receiver<bool>,
}

impl Call<'_> {
    async fn answer(mut self, head_only: bool, body: Incoming) -> Response<Body> {
        let mut what = self.param.clone().unwrap_or_default();
        let mut audited = self.route.changes;
        let outcome = self.run(head_only, body, &mut what, &mut audited).await;
        if audited {
            let (status, error) = match &outcome {
                Ok(response) => (response.status().as_u16(), None),
                Err(failure) => (failure.code.status(), Some(failure.error.clone())),
            };
            let action = self.route.name.to_owned();
            self.door.service.audit(Audit { caller: self.caller, action, what, status, error });
        }
        outcome.unwrap_or_else(|failure| http::failure(&failure, &[]))
    }

    async fn run(
        &mut self,
        head_only: bool,
        body: Incoming,
        what: &mut String,
        audited: &mut bool,
    ) -> Answer<Response<Body>> {
        let query = http::query(self.query, self.route)?;
        let dry_run = http::parsed::<bool>(&query, "dry_run", "true or false")?.unwrap_or(false);
        *audited &= !dry_run;
        if !dry_run {
            self.check_role()?;
        }
        let service = &self.door.service;
        let by = self.caller.clone();
        let id = self.param.clone().unwrap_or_default();
        let (headers, route) = (&self.headers, self.route);
        if route.body.is_none() {
            http::nothing(headers, body, route).await?;
            return self.without_body(head_only, &query, id, by).await;
        }
        match route.operation {
            Operation::OpenTarget => {
                let target: model::Target = http::read(headers, body, route).await?;
                *what = target.reference().to_string();
                ok(&service.open_target(target, by).await?)
            }
            Operation::Arm => {
                let lease = http::parsed::<Span>(&query, "lease", "a duration, such as 15s")?;
                let fault: Fault = http::read(headers, body, route).await?;
                *what = format!("{} on {}", fault.describe(), fault.target);
                possible(&fault)?;
                if dry_run {
                    return ok(&service.plan(fault).await?);
                }
                ok(&service.arm(fault, lease, by).await?)
            }
            Operation::Adjust => {
                let change: crate::wire::Change = http::read(headers, body, route).await?;
                if let Ok(text) = serde_json::to_string(&change) {
                    *what = format!("{id} {text}");
                }
                ok(&service.adjust(id, change, by).await?)
            }
            Operation::HoldRequests => {
                let order: HoldOrder = http::read(headers, body, route).await?;
                *what = match &order.when {
                    Some(when) => format!("{when} on {}", order.target),
                    None => order.target.to_string(),
                };
                let lease = order.lease.unwrap_or(HOLD_LEASE);
                holdable("a request", lease)?;
                ok(&service.hold_requests(HoldOrder { lease: Some(lease), ..order }, by).await?)
            }
            Operation::OpenStubs => {
                let stubs: model::StubServer = http::read(headers, body, route).await?;
                let target = stub_target(stubs)?;
                *what = target.reference().to_string();
                ok(&service.open_target(target, by).await?)
            }
            Operation::StartRun => {
                let run: crate::wire::StartRun = http::read(headers, body, route).await?;
                *what = run.file.clone().unwrap_or_else(|| "a text".to_owned());
                ok(&service.start_run(run, by).await?)
            }
            _ => Err(unreachable_route(route)),
        }
    }

    async fn without_body(
        &self,
        head_only: bool,
        query: &BTreeMap<&'static str, String>,
        id: String,
        by: Caller,
    ) -> Answer<Response<Body>> {
        let service = &self.door.service;
        let done = json!({"done": true});
        match self.route.operation {
            Operation::Status => ok(&Status { agent: service.status().await?, you: by }),
            Operation::Targets => ok(&service.targets().await?),
            Operation::CloseTarget => {
                let target: TargetRef =
                    id.parse().map_err(|p: model::Problem| Failure::of(Code::BadRequest, &p))?;
                service.close_target(target, by).await?;
                ok(&done)
            }
            Operation::Faults => ok(&service.faults().await?),
            Operation::Disarm => ok(&service.disarm(id, by).await?),
            Operation::Renew => ok(&service.renew(id, by).await?),
            Operation::Connections => ok(&service.connections(which_connections(query)?).await?),
            Operation::CloseConnection => {
                let how = http::parsed::<Close>(query, "how", "fin or rst")?.unwrap_or_default();
                service.close_connection(number(&id)?, how, by).await?;
                ok(&done)
            }
            Operation::HoldConnection => {
                let lease =
                    http::parsed::<Span>(query, "lease", "a duration, such as 60s")?.unwrap_or(HOLD_LEASE);
                holdable("a connection", lease)?;
                service.hold_connection(number(&id)?, lease, by).await?;
                ok(&done)
            }
            Operation::ReleaseConnection => {
                service.release_connection(number(&id)?, by).await?;
                ok(&done)
            }
            Operation::Operations => ok(&service.operations(which_operations(query)?).await?),
            Operation::Requests => ok(&service.requests(which_requests(query)?).await?),
            Operation::EndHold => {
                service.end_hold(number(&id)?, by).await?;
                ok(&done)
            }
            Operation::ReleaseRequest => {
                service.release_request(number(&id)?, by).await?;
                ok(&done)
            }
            Operation::Top => {
                let Some(target) = target_in(query)? else {
                    return Err(Failure::new(Code::BadRequest, "whose top it is, is not said")
                        .hint("add ?target=proxy:NAME; murphy list shows the open ones"));
                };
                let by = http::parsed::<TopBy>(query, "by", "client or route")?.unwrap_or_default();
                let limit = http::parsed::<usize>(query, "limit", "a whole number")?.unwrap_or(requests::TOP);
                ok(&service.top(target, by, limit.min(256)).await?)
            }
            Operation::Halt => ok(&service.halt(by).await?),
            Operation::Lift => {
                service.lift(by).await?;
                ok(&done)
            }
            Operation::Run => ok(&service.run().await?),
            Operation::EndRun => ok(&service.end_run(by).await?),
            Operation::Catalogue => ok(&service.catalogue().await?),
            Operation::Doctor => ok(&service.doctor().await?),
            Operation::Events => self.events(head_only, query).await,
            Operation::OpenApi => ok(&openapi::document()),
            Operation::Metrics => {
                let text = crate::metrics::text(
                    &service.status().await?,
                    &service.faults().await?,
                    &service.totals(),
                    &service.operation_kinds(),
                );
                Ok(http::respond(200, "text/plain; version=0.0.4; charset=utf-8", text.into()))
            }
            Operation::OpenTarget
            | Operation::Arm
            | Operation::Adjust
            | Operation::HoldRequests
            | Operation::OpenStubs
            | Operation::StartRun => Err(unreachable_route(self.route)),
        }
    }

    async fn events(
        &self,
        head_only: bool,
        query: &BTreeMap<&'static str, String>,
    ) -> Answer<Response<Body>> {
        let from = http::parsed::<u64>(query, "from", "a whole number")?;
        let last =
            self.headers
                .get("last-event-id")
                .map(|value| {
                    value.to_str().ok().and_then(|v| v.trim().parse::<u64>().ok()).ok_or_else(|| {
                        Failure::new(Code::BadRequest, "Last-Event-ID is not a number of ours")
                    })
                })
                .transpose()?;
        let from = match (last, from) {
            (Some(last), _) => last.saturating_add(1),
            (None, Some(from)) => from,
            (None, None) => self.door.service.status().await?.seq + 1,
        };
        if head_only {
            return Ok(http::respond(200, "text/event-stream", bytes::Bytes::new()));
        }
        let slot = self.door.watchers.clone().try_acquire_owned().map_err(|_| {
            Failure::new(Code::Unavailable, "too many listen to this agent's events")
                .hint("close consoles or scripts that nobody looks at")
        })?;
        Ok(sse::response(self.door.service.events(from), self.end.clone(), slot))
    }

    fn check_role(&self) -> Result<(), Failure> {
        match self.route.role {
            Some(needed) if self.caller.role < needed => Err(Failure::new(
                Code::Forbidden,
                format!(
                    "{} needs the role {needed}, and {} is {}",
                    self.route.name, self.caller, self.caller.role
                ),
            )
            .hint(
                "halting is open to everyone; for more, ask whoever runs the agent: its group, a token or the name in a certificate give a role",
            )),
            _ => Ok(()),
        }
    }
}

fn ok<T: serde::Serialize>(value: &T) -> Answer<Response<Body>> {
    Ok(http::json(200, value))
}

/// The table says of each route whether it takes a body, so the wrong half of the dispatch is never asked.
fn unreachable_route(route: &Route) -> Failure {
    Failure::new(Code::Internal, format!("{} has no handler", route.name))
}
