//! `patch`: a part of a body becomes another, by JSON merge patch (RFC 7396) or by regular expression.

use super::replace::direction;
use super::through::{Pass, Through};
use super::{Act, Known, RequestFault};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::Piece;
use crate::http::stage::BodyStage;
use crate::http::wire::Ending;
use crate::knob::Dials;
use bytes::{Bytes, BytesMut};
use model::Problem;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct Patch {
    dir: Dir,
    change: Arc<Change>,
    limit: usize,
}

/// What is done to a whole body.
struct Change {
    json: Option<Value>,
    text: Option<(regex_lite::Regex, String)>,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let json = params.text("json").map(|text| {
        serde_json::from_str(text).map_err(|e| {
            Problem::new(format!("patch: json does not read: {e}"))
                .hint("write a merge patch, such as {\"price\": null}")
        })
    });
    let text = match (params.text("regex"), params.text("with")) {
        (Some(regex), with) => Some((
            regex_lite::Regex::new(regex).map_err(|e| {
                Problem::new(format!("patch: {regex:?} is not a regular expression: {e}"))
                    .hint("write \\( for a bracket itself")
            })?,
            with.unwrap_or_default().to_owned(),
        )),
        (None, Some(_)) => {
            return Err(Problem::new("patch: with says what comes, and nothing what goes").hint("add regex"));
        }
        (None, None) => None,
    };
    let change = Change { json: json.transpose()?, text };
    if change.json.is_none() && change.text.is_none() {
        return Err(Problem::new("patch has nothing to change").hint("give json, or regex and with"));
    }
    let limit = params.size("limit").map_or(1 << 20, |s| s.0.min(64 << 20)) as usize;
    Ok(Act::Request(Box::new(Patch { dir: direction(dials), change: Arc::new(change), limit })))
}

impl RequestFault for Patch {
    fn stage(&self, hit: &Arc<Hit>, dir: Dir, known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if dir != self.dir {
            return None;
        }
        let headers = match dir {
            Dir::Up => &known.request.headers,
            Dir::Down => &known.response?.headers,
        };
        if headers.contains("content-encoding") {
            return None;
        }
        let (change, hit, kept) = (self.change.clone(), hit.clone(), BytesMut::new());
        Through::stage(Whole { change, hit, limit: self.limit, kept, passes: false })
    }

    fn keeps_length(&self, dir: Dir) -> bool {
        dir != self.dir
    }

    fn can_ask_for_responses(&self) -> bool {
        self.dir == Dir::Down
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("bodies_changed", meters.applied.load(Relaxed) as f64)])
    }
}

/// Collects a body and changes it when it is whole.
struct Whole {
    change: Arc<Change>,
    hit: Arc<Hit>,
    limit: usize,
    kept: BytesMut,
    /// It is too large, or was changed: what comes passes.
    passes: bool,
}

impl Pass for Whole {
    fn pass(&mut self, piece: Piece, _now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        match piece {
            Piece::Data(bytes) if !self.passes && self.kept.len() + bytes.len() <= self.limit => {
                self.kept.extend_from_slice(&bytes);
            }
            piece => {
                let kept = self.kept.split().freeze();
                let whole = !matches!(piece, Piece::Data(_)) && !self.passes;
                self.passes = true;
                let body = match self.change.of(&kept).filter(|_| whole) {
                    Some(changed) => {
                        self.hit.apply();
                        changed
                    }
                    None => kept,
                };
                if !body.is_empty() {
                    out.push_back(Piece::Data(body));
                }
                out.push_back(piece);
            }
        }
        Ok(())
    }

    fn give_up(&mut self) -> Vec<Piece> {
        let kept = self.kept.split().freeze();
        if kept.is_empty() { Vec::new() } else { vec![Piece::Data(kept)] }
    }
}

impl Change {
    /// The changed body; none when nothing in it is to change.
    fn of(&self, body: &[u8]) -> Option<Bytes> {
        let text = std::str::from_utf8(body).ok()?;
        let mut changed = None;
        if let Some(patch) = &self.json
            && let Ok(mut value) = serde_json::from_str::<Value>(text)
        {
            let before = value.clone();
            merge(&mut value, patch);
            changed = (value != before).then(|| value.to_string());
        }
        if let Some((regex, with)) = &self.text {
            let text = changed.as_deref().unwrap_or(text);
            if regex.is_match(text) {
                changed = Some(regex.replace_all(text, with.as_str()).into_owned());
            }
        }
        changed.map(Bytes::from)
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, data, drain};
    use super::*;
    use serde_json::json;

    /// The cases of RFC 7396, appendix A.
    #[test]
    fn merge_patches() {
        for (original, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut value = original;
            merge(&mut value, &patch);
            assert_eq!(value, want);
        }
    }

    fn patched(words: &str, pieces: &[&str]) -> (String, f64) {
        let x = Exchange::new(words);
        let mut stage = x.stage(Dir::Down);
        pieces.iter().for_each(|p| stage.push(data(p), x.start));
        stage.push(Piece::End, x.start);
        (drain(&mut *stage, x.start), x.applied())
    }

    #[test]
    fn a_body_is_changed_when_it_is_whole() {
        assert_eq!(patched(r#"patch json={"a":null,"b":2}"#, &["{\"a\"", ":1}"]), ("{\"b\":2}.".into(), 1.0));
        assert_eq!(patched("patch regex=st(.)ck with=$1", &["in st", "ock stick"]), ("in o i.".into(), 1.0));
        assert_eq!(patched("patch regex=x with=y", &["abc"]), ("abc.".into(), 0.0));
        assert_eq!(patched("patch json={\"a\":1}", &["not json"]), ("not json.".into(), 0.0));
        assert_eq!(
            patched("patch regex=a with=b limit=4B", &["aaa", "aaa", "aa"]),
            ("aaaaaaaa.".into(), 0.0)
        );
    }

    #[test]
    fn what_was_collected_is_given_up_when_it_is_over() {
        let x = Exchange::new("patch regex=a with=b");
        let mut stage = x.stage(Dir::Down);
        stage.push(data("aa"), x.start);
        assert_eq!(drain(&mut *stage, x.start), "");
        stage.push(data("a"), x.start);
        let released: Vec<_> = stage.release().into_iter().map(|(p, _)| p).collect();
        assert_eq!(released, [data("aa"), data("a")]);
    }
}
