//! The command line that does the same as a form: what is learned at the console can be scripted.

use model::{Fault, Matcher, Share};
use serde_json::Value;

/// `murphy arm proxy:cart latency delay=120ms jitter=40ms --percent 30% --for 60s`.
pub fn arm(fault: &Fault) -> String {
    let mut words = vec!["murphy".to_owned(), "arm".to_owned(), quote(&fault.target.to_string())];
    words.push(fault.inject.name().to_owned());
    words.extend(fault.inject.pairs().iter().map(|p| quote(p)));
    let mut option = |name: &str, value: String| {
        words.push(format!("--{name}"));
        words.push(quote(&value));
    };
    match fault.share {
        Share::All => {}
        Share::Percent(p) => option("percent", p.to_string()),
        Share::Nth(n) => option("nth", n.to_string()),
        Share::First(n) => option("first", n.to_string()),
    }
    if let Some(per) = &fault.per {
        option("per", per.to_string());
    }
    for condition in fault.when.iter().flat_map(conditions) {
        option("when", condition);
    }
    if let Some(seed) = fault.seed {
        option("seed", seed.to_string());
    }
    if let Some(lasts) = fault.lasts {
        option("for", lasts.to_string());
    }
    if fault.ramp.is_some() {
        words.push("# without its ramp, which only an experiment has".to_owned());
    }
    words.join(" ")
}

/// `murphy adjust A delay=300ms --percent 50%`: what is different, and nothing else.
pub fn adjust(id: &str, from: &Fault, to: &Fault) -> String {
    let mut words = vec!["murphy".to_owned(), "adjust".to_owned(), quote(id)];
    let (old, new) = (from.inject.params(), to.inject.params());
    let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(*value));
    words.extend(changed.map(|(name, value)| quote(&format!("{name}={value}"))));
    words.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name}=")));
    let mut option = |name: &str, value: String| {
        words.push(format!("--{name}"));
        words.push(quote(&value));
    };
    if to.share != from.share {
        match to.share {
            Share::All => option("percent", "100%".to_owned()),
            Share::Percent(p) => option("percent", p.to_string()),
            Share::Nth(n) => option("nth", n.to_string()),
            Share::First(n) => option("first", n.to_string()),
        }
    }
    if to.when != from.when {
        match &to.when {
            None => option("when", "everything".to_owned()),
            Some(when) => conditions(when).into_iter().for_each(|c| option("when", c)),
        }
    }
    if let Some(lasts) = to.lasts.filter(|lasts| Some(*lasts) != from.lasts) {
        option("for", lasts.to_string());
    }
    words.join(" ")
}

/// A matcher as the form takes it: in words where they say the same.
pub fn typed(when: &Matcher) -> String {
    let words = conditions(when).join(" ");
    match words.parse::<Matcher>() {
        Ok(read) if read == *when => words,
        _ => when.to_json().to_string(),
    }
}

/// The conditions of a matcher as `--when` takes them, one each; what cannot be said so is JSON.
fn conditions(when: &Matcher) -> Vec<String> {
    if let Matcher::All(list) = when {
        return list.iter().flat_map(conditions).collect();
    }
    let json = when.to_json();
    // One key with a text, a list of texts, or a header: all other keys read the same on a command line as in a file.
    let entry = json.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
    let said = entry.and_then(|(key, value)| match value {
        Value::String(text) => Some(format!("{key}={text}")),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| format!("{key}={}", texts.join(",")))
        }
        Value::Object(map) if key != "not" && map.len() == 1 => {
            map.iter().next().and_then(|(name, p)| Some(format!("{key}.{name}={}", p.as_str()?)))
        }
        _ => None,
    });
    vec![said.unwrap_or_else(|| json.to_string())]
}

/// The word as a POSIX shell takes it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_takes() {
        let fault = |when: &str| -> Fault {
            serde_json::from_str(&format!(
                r#"{{"target": "proxy:cart", "for": "60s", "inject": {{"abort": {{"status": 503, "body": "it's busy"}}}}, "share": {{"percent": "30%"}}, "when": {when}}}"#
            ))
            .unwrap()
        };
        assert_eq!(
            arm(&fault(r#"{"path": "/pay*"}"#)),
            r#"murphy arm proxy:cart abort 'body=it'\''s busy' --percent 30% --when 'path=/pay*' --for 1m"#
        );
        let line = arm(&fault(
            r#"{"method": ["POST", "PUT"], "header": {"x-user": "a b"}, "path_regex": "^/a", "not": {"path": "/b"}}"#,
        ));
        for part in [
            "--when method=POST,PUT",
            "--when 'header.x-user=a b'",
            "--when 'path_regex=^/a'",
            r#"--when '{"not":{"path":"/b"}}'"#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
