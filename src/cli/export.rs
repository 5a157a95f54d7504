//! Who is told what happens, as it is typed and as OpenTelemetry's variables say it.

use crate::failure::Failure;
use clap::Args;
use engine::export::otlp::Collector;

/// Where traces go.
#[derive(Debug, Args)]
pub struct Export {
    /// Send traces of runs, faults and faulted requests to an OpenTelemetry collector: <http://127.0.0.1:4318>
    /// [env: OTEL_EXPORTER_OTLP_ENDPOINT, with OTEL_EXPORTER_OTLP_HEADERS and OTEL_SERVICE_NAME]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
}

impl Export {
    /// The collector that is meant, if one is.
    pub fn collector(&self) -> Result<Option<Collector>, Failure> {
        let Some((url, by)) = self.url(variable) else { return Ok(None) };
        let hint = "give the address of its HTTP receiver: --otlp http://127.0.0.1:4318";
        let headers = variable("OTEL_EXPORTER_OTLP_HEADERS").map_or(Ok(vec![]), |text| headers(&text));
        let headers = headers.map_err(|what| {
            Failure::usage(
                format!("OTEL_EXPORTER_OTLP_HEADERS: {what}"),
                "headers are written NAME=VALUE,NAME=VALUE",
            )
        })?;
        let service = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "murphy".to_owned());
        match Collector::new(&url, headers, &service) {
            Ok(collector) => Ok(Some(collector)),
            Err(e) => Err(Failure::usage(format!("{by}: {e}"), hint)),
        }
    }

    /// The address and what says it.
    fn url(&self, variable: impl Fn(&str) -> Option<String>) -> Option<(String, &'static str)> {
        if let Some(url) = &self.otlp {
            return Some((url.clone(), "--otlp"));
        }
        // The more special one is a whole address; the other is where all signals go, each to a path of its own.
        let (traces, all) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let whole = variable(traces).map(|url| (url, traces));
        whole.or_else(|| Some((format!("{}/v1/traces", variable(all)?.trim_end_matches('/')), all)))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// `NAME=VALUE,NAME=VALUE`, values percent-encoded as in W3C Baggage.
fn headers(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no ="))?;
            let value =
                model::percent::decode(value.trim()).ok_or_else(|| format!("{value:?} is badly encoded"))?;
            Ok((name.trim().to_ascii_lowercase(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_meant_before_variables_and_the_special_one_before_the_general_one() {
        let typed = |otlp: Option<&str>| Export { otlp: otlp.map(str::to_owned) };
        let general =
            |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://c:4318/".to_owned());
        let both =
            |name: &str| Some(if name.contains("TRACES") { "http://t/x" } else { "http://c" }.to_owned());
        assert_eq!(typed(None).url(|_| None), None);
        assert_eq!(typed(None).url(general).unwrap().0, "http://c:4318/v1/traces");
        assert_eq!(typed(None).url(both).unwrap().0, "http://t/x");
        assert_eq!(typed(Some("http://me")).url(both).unwrap(), ("http://me".to_owned(), "--otlp"));
    }

    #[test]
    fn headers_are_pairs() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            headers("Authorization=Basic%20abc, x = y,").unwrap(),
            [pair("authorization", "Basic abc"), pair("x", "y")]
        );
        assert!(headers("nothing").is_err());
    }
}
