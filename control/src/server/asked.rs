//! What the query of a call asks for, read into what the service takes.

use super::http;
use crate::connections::{ConnectionQuery, LONGEST_HOLD, MOST, Sort};
use crate::operations::{self, OperationQuery};
use crate::requests::{self, RequestQuery};
use crate::service::Answer;
use crate::wire::{Code, Failure};
use model::units::Span;
use model::{RequestState, TargetRef};
use std::collections::BTreeMap;

/// The number of a connection, a request or a hold.
pub(super) fn number(id: &str) -> Answer<u64> {
    id.parse().map_err(|_| {
        Failure::new(Code::BadRequest, format!("{id:?} is not a number"))
            .hint("murphy connections and murphy requests show those of theirs")
    })
}

/// Whether something may be held by hand for so long.
pub(super) fn holdable(what: &str, lease: Span) -> Answer<()> {
    if lease <= LONGEST_HOLD && lease != Span::default() {
        return Ok(());
    }
    Err(Failure::new(Code::BadRequest, format!("{what} cannot be held for {lease}"))
        .hint(format!("give at most {LONGEST_HOLD}, and hold it again for more")))
}

pub(super) fn target_in(query: &BTreeMap<&'static str, String>) -> Answer<Option<TargetRef>> {
    let parsed = |text: &String| text.parse().map_err(|p: model::Problem| Failure::of(Code::BadRequest, &p));
    query.get("target").map(parsed).transpose()
}

pub(super) fn which_operations(query: &BTreeMap<&'static str, String>) -> Answer<OperationQuery> {
    let limit = http::parsed::<usize>(query, "limit", "a whole number")?.unwrap_or(operations::LIMIT);
    if limit > operations::LONGEST {
        let what = format!("limit={limit} is more than {}", operations::LONGEST);
        return Err(Failure::new(Code::BadRequest, what).hint("choose some with target, fault, op or text"));
    }
    let op = query.get("op").cloned();
    if let Some(op) = op.as_deref().filter(|op| !model::catalogue::FILE_OPERATIONS[1..].contains(op)) {
        return Err(Failure::new(Code::BadRequest, format!("op={op} is no operation on files"))
            .hint(format!("there are {}", model::catalogue::FILE_OPERATIONS[1..].join(", "))));
    }
    Ok(OperationQuery {
        target: target_in(query)?,
        fault: http::parsed(query, "fault", "true or false")?.unwrap_or(false),
        op,
        text: query.get("text").cloned().unwrap_or_default(),
        after: http::parsed(query, "after", "a whole number")?.unwrap_or(0),
        limit,
    })
}

pub(super) fn which_requests(query: &BTreeMap<&'static str, String>) -> Answer<RequestQuery> {
    let limit = http::parsed::<usize>(query, "limit", "a whole number")?.unwrap_or(requests::LIMIT);
    if limit > requests::LONGEST {
        let what = format!("limit={limit} is more than {}", requests::LONGEST);
        return Err(
            Failure::new(Code::BadRequest, what).hint("choose some of them with target, fault or text")
        );
    }
    let state = query.get("state").map(|word| {
        RequestState::ALL.into_iter().find(|s| s.word() == word).ok_or_else(|| {
            Failure::new(Code::BadRequest, format!("state={word} is not a state"))
                .hint("write held, waiting, answering, done or broken")
        })
    });
    Ok(RequestQuery {
        target: target_in(query)?,
        fault: http::parsed(query, "fault", "true or false")?.unwrap_or(false),
        state: state.transpose()?,
        text: query.get("text").cloned().unwrap_or_default(),
        after: http::parsed(query, "after", "a whole number")?.unwrap_or(0),
        limit,
    })
}

/// A proxy that leads nowhere.
pub(super) fn stub_target(server: model::StubServer) -> Answer<model::Target> {
    let wrong = |p: &model::Problem| Failure::of(Code::BadRequest, p);
    if server.stubs.is_empty() {
        return Err(
            Failure::new(Code::BadRequest, "there are no stubs").hint("give at least one: {\"status\": 200}")
        );
    }
    if let Some(problem) = server.stubs.iter().find_map(model::Stub::problem) {
        return Err(wrong(&problem));
    }
    let spec = model::target::ProxySpec {
        listen: server.listen,
        protocol: model::target::Protocol::Http,
        stubs: server.stubs,
        ..Default::default()
    };
    Ok(model::Target { name: server.name, spec: model::TargetSpec::Proxy(spec) })
}

pub(super) fn which_connections(query: &BTreeMap<&'static str, String>) -> Answer<ConnectionQuery> {
    let target = target_in(query)?;
    let whole = ConnectionQuery::default();
    let limit = http::parsed::<usize>(query, "limit", "a whole number")?.unwrap_or(whole.limit);
    if limit > MOST {
        return Err(Failure::new(Code::BadRequest, format!("limit={limit} is more than {MOST}"))
            .hint("choose some of them with target, fault or text"));
    }
    Ok(ConnectionQuery {
        target,
        fault: http::parsed(query, "fault", "true or false")?.unwrap_or(false),
        text: query.get("text").cloned().unwrap_or_default(),
        sort: http::parsed::<Sort>(query, "sort", "age, newest or bytes")?.unwrap_or_default(),
        limit,
    })
}
