//! A container's limits, in the engine's own words and back.

use model::Injection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How the engine writes that memory is not limited once it was: it takes no word for it. The kernel reads `max`.
pub(super) const UNLIMITED: i64 = 9_223_372_036_854_771_712;

/// A container's limits in the engine's own words (`HostConfig`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) nano_cpus: i64,
    pub(super) quota: i64,
    pub(super) period: i64,
    pub(super) memory: i64,
    pub(super) swap: i64,
    pub(super) pids: i64,
}

impl Limits {
    pub(super) fn of(config: &Value) -> Limits {
        let number = |key: &str| config[key].as_i64().unwrap_or(0);
        Limits {
            nano_cpus: number("NanoCpus"),
            quota: number("CpuQuota"),
            period: number("CpuPeriod"),
            memory: number("Memory"),
            swap: number("MemorySwap"),
            pids: number("PidsLimit"),
        }
    }

    /// What is to be sent for the limits that a fault asks for. The engine does not take both of its ways to say cores.
    pub(super) fn narrowed(&self, wanted: &Injection) -> Value {
        let mut body = json!({});
        if let Some(cores) = wanted.float("cpu") {
            if self.nano_cpus != 0 {
                body["NanoCpus"] = ((cores * 1e9) as i64).into();
            } else {
                let period = if self.period > 0 { self.period } else { 100_000 };
                body["CpuPeriod"] = period.into();
                body["CpuQuota"] = ((cores * period as f64).round() as i64).max(1000).into();
            }
        }
        if let Some(size) = wanted.size("memory") {
            body["Memory"] = size.0.into();
            if self.swap <= 0 {
                body["MemorySwap"] = (-1).into();
            }
        }
        if let Some(pids) = wanted.int("pids") {
            body["PidsLimit"] = pids.into();
        }
        body
    }

    /// What is to be sent so that they hold again.
    pub(super) fn restored(&self, wanted: &Injection) -> Value {
        let mut body = json!({});
        if wanted.float("cpu").is_some() {
            if self.nano_cpus != 0 {
                body["NanoCpus"] = self.nano_cpus.into();
            } else {
                body["CpuPeriod"] = if self.period > 0 { self.period } else { 100_000 }.into();
                body["CpuQuota"] = if self.quota > 0 { self.quota } else { -1 }.into();
            }
        }
        if wanted.size("memory").is_some() {
            body["Memory"] = if self.memory > 0 { self.memory } else { UNLIMITED }.into();
            if self.swap <= 0 {
                body["MemorySwap"] = (-1).into();
            }
        }
        if wanted.int("pids").is_some() {
            body["PidsLimit"] = if self.pids > 0 { self.pids } else { -1 }.into();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Injection {
        let pairs = [("cpu", "0.5"), ("memory", "64MiB"), ("pids", "20")];
        Injection::from_pairs("container_limits", pairs).unwrap()
    }

    #[test]
    fn limits_are_said_in_the_engines_own_way() {
        let bare = Limits::default();
        let body = bare.narrowed(&wanted());
        assert_eq!((&body["CpuQuota"], &body["CpuPeriod"]), (&json!(50_000), &json!(100_000)));
        assert_eq!(
            (&body["Memory"], &body["MemorySwap"], &body["PidsLimit"]),
            (&json!(67_108_864), &json!(-1), &json!(20))
        );
        let back = bare.restored(&wanted());
        assert_eq!(
            (&back["CpuQuota"], &back["Memory"], &back["PidsLimit"]),
            (&json!(-1), &json!(UNLIMITED), &json!(-1))
        );
        let nano = Limits { nano_cpus: 2_000_000_000, memory: 1 << 30, swap: 2 << 30, pids: 100, ..bare };
        let body = nano.narrowed(&wanted());
        assert_eq!(body["NanoCpus"], json!(500_000_000_i64));
        assert!(body.get("CpuQuota").is_none() && body.get("MemorySwap").is_none());
        let back = nano.restored(&wanted());
        assert_eq!(
            (&back["NanoCpus"], &back["Memory"], &back["PidsLimit"]),
            (&json!(2_000_000_000_i64), &json!(1 << 30), &json!(100))
        );
        let only = Injection::from_pairs("container_limits", [("pids", "7")]).unwrap();
        assert_eq!(bare.restored(&only), json!({"PidsLimit": -1}), "what was not asked for is not touched");
    }
}
