//! The OpenAPI 3.1 description, made from the table of routes.

use crate::routes::{ROUTES, Route};
use crate::schema;
use crate::wire::Code;
use serde_json::{Map, Value, json};

/// The description of the whole API.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = route.path.replace("+}", "}");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "murphy",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The control API of a murphy agent: what can go wrong, on demand.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}, {"certificate": []}, {"certificate": [], "token": []}],
        "paths": paths,
        "components": {
            "schemas": schema::all(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "On TCP. On the unix socket the kernel says who calls.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "On TCP with TLS, where the agent asks for it. Its names give the role.",
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters = Vec::new();
    if let Some((_, rest)) = route.path.split_once('{') {
        let name = rest.split(['+', '}']).next().unwrap_or(rest);
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
        }));
    }
    for q in route.query {
        parameters.push(json!({
            "name": q.name, "in": "query", "required": false, "description": q.doc, "schema": {"type": q.ty},
        }));
    }
    let media = match route.answer {
        "Event" => "text/event-stream",
        "Text" => "text/plain",
        _ => "application/json",
    };
    let mut out = json!({
        "operationId": route.name,
        "summary": route.summary,
        "description": match route.role {
            Some(role) => format!("Needs the role {role}."),
            None => "Anyone may.".to_owned(),
        },
        "responses": {
            "200": {"description": "Done.", "content": {media: {"schema": reference(route.answer)}}},
            "default": {
                "description": format!(
                    "Refused or failed: {}.",
                    Code::ALL.map(|c| format!("{} {}", c.status(), word(c))).join(", ")
                ),
                "content": {"application/json": {"schema": reference("Failure")}},
            },
        },
    });
    if !parameters.is_empty() {
        out["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = route.body {
        out["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
    }
    out
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn word(code: Code) -> String {
    serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let doc = document();
        let mut described = BTreeSet::new();
        for (path, item) in doc["paths"].as_object().unwrap() {
            for (method, op) in item.as_object().unwrap() {
                described.insert((method.to_uppercase(), path.clone(), op["operationId"].to_string()));
            }
        }
        let routes: BTreeSet<_> = ROUTES
            .iter()
            .map(|r| (r.method.to_owned(), r.path.replace("+}", "}"), format!("{:?}", r.name)))
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let doc = document();
        let schemas = &doc["components"]["schemas"];
        let text = doc.to_string();
        let mut used = BTreeSet::new();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas[name].is_object(), "{name} is not described");
            used.insert(name);
        }
        for name in schemas.as_object().unwrap().keys() {
            assert!(used.contains(name.as_str()), "{name} is described and never used");
        }
    }
}
