//! A number that Prometheus has, as a probe.

use super::http::{Origin, Pool, request};
use bytes::Bytes;
use model::experiment::PrometheusProbe;
use model::percent::encode;
use std::sync::Arc;
use tokio::time::timeout;

/// Where the query goes: below the path that the address may have.
pub fn address(probe: &PrometheusProbe) -> String {
    let age =
        probe.max_age.map_or(String::new(), |age| format!("&lookback_delta={:.3}", age.0.as_secs_f64()));
    format!("{}/api/v1/query?query={}{age}", probe.url.trim_end_matches('/'), encode(&probe.query))
}

/// The number; none when there is no answer, no series, or more than one.
pub async fn ask(probe: PrometheusProbe, origin: Origin, pool: Arc<Pool>) -> Option<f64> {
    let request = request(&origin, "GET", &[], Bytes::new()).ok()?;
    match timeout(probe.timeout.0, pool.send(&origin, request)).await {
        Ok(Ok((200, body))) => number(&body),
        _ => None,
    }
}

/// `{"data": {"resultType": "vector", "result": [{"value": [1700000000.1, "0.5"]}]}}`, or a scalar's `[time, "0.5"]`
/// (<https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>).
fn number(body: &[u8]) -> Option<f64> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let data = &answer["data"];
    let pair = match data["resultType"].as_str()? {
        "scalar" => &data["result"],
        "vector" => match data["result"].as_array()?.as_slice() {
            [one] => &one["value"],
            _ => return None,
        },
        _ => return None,
    };
    pair[1].as_str()?.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::Span;

    #[test]
    fn answers_with_one_number_are_read() {
        let vector = |result: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
        };
        let one = r#"{"metric":{},"value":[1700000000.1,"0.25"]}"#;
        assert_eq!(number(vector(one).as_bytes()), Some(0.25));
        assert_eq!(number(vector("").as_bytes()), None, "no series is no data");
        assert_eq!(number(vector(&format!("{one},{one}")).as_bytes()), None, "which one is meant?");
        let scalar = br#"{"data":{"resultType":"scalar","result":[1,"7"]}}"#;
        assert_eq!(number(scalar), Some(7.0));
        assert_eq!(number(br#"{"data":{"resultType":"scalar","result":[1,"NaN"]}}"#), None);
        assert_eq!(number(b"<html>"), None);
    }

    #[test]
    fn queries_are_encoded_below_the_address() {
        let probe = PrometheusProbe {
            url: "http://a:9090/prom/".into(),
            trust: Default::default(),
            query: r#"sum(rate(x{code=~"5.."}[1m]))"#.into(),
            every: Span::secs(1),
            timeout: Span::secs(1),
            max_age: Some(Span::secs(30)),
        };
        assert_eq!(
            address(&probe),
            "http://a:9090/prom/api/v1/query?query=sum%28rate%28x%7Bcode%3D~%225..%22%7D%5B1m%5D%29%29&lookback_delta=30.000"
        );
    }
}
