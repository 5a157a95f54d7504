//! The command line that does the same as a form: what is learned at the console can be scripted.

use model::{Fault, Share};

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
    if let Some(when) = &fault.when {
        option("when", when.to_json().to_string());
    }
    if let Some(ramp) = &fault.ramp {
        option("ramp", serde_json::to_string(ramp).unwrap_or_default());
    }
    if let Some(seed) = fault.seed {
        option("seed", seed.to_string());
    }
    if let Some(lasts) = fault.lasts {
        option("for", lasts.to_string());
    }
    words.join(" ")
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
        let fault: Fault = serde_json::from_str(
            r#"{"target": "proxy:cart", "for": "60s", "inject": {"abort": {"status": 503, "body": "it's busy"}}, "share": {"percent": "30%"}, "when": {"path": "/pay*"}}"#,
        )
        .unwrap();
        assert_eq!(
            arm(&fault),
            r#"murphy arm proxy:cart abort 'body=it'\''s busy' --percent 30% --when '{"path":"/pay*"}' --for 1m"#
        );
    }
}
