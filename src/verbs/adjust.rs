use super::arm::matcher;
use super::{pretty, print};
use crate::cli::{Adjust, Condition};
use crate::failure::{Failure, Outcome};
use crate::house::found;
use control::wire::Change;
use model::problem::did_you_mean;
use model::{FaultDef, Share};
use std::collections::BTreeMap;

/// `murphy adjust`: changes a fault that is on. What is open already, and what waits, has the change when this returns.
pub async fn adjust(args: Adjust) -> Outcome {
    let client = found(&args.which)?;
    let faults = client.faults().await?;
    let Some(fault) = faults.iter().find(|f| f.id == args.id) else {
        return Err(Failure::usage(
            format!("no fault {:?} is armed", args.id),
            "murphy list shows those that are",
        ));
    };
    let change = Change {
        inject: params(fault.fault.inject.def(), &args.params)?,
        share: match (args.percent, args.nth, args.first) {
            (Some(p), _, _) => Some(Share::Percent(p)),
            (_, Some(n), _) => Some(Share::Nth(n)),
            (_, _, Some(n)) => Some(Share::First(n)),
            _ => None,
        },
        when: when(&args.when)?,
        ramp: None,
        lasts: args.lasts,
    };
    if change == Change::default() {
        return Err(Failure::usage(
            format!("nothing of {} is to be changed", args.id),
            "name a parameter (delay=300ms), a share (--percent 50%), a matcher (--when) or a length (--for)",
        ));
    }
    let now = client.adjust(&args.id, &change).await?;
    if args.output.json {
        return print(&(pretty(&now) + "\n"));
    }
    now.warnings.iter().for_each(|w| tell!("mind: {w}"));
    let ends = now.left.map_or(String::new(), |left| {
        format!("; it ends by itself in {}", model::units::Span::secs(left.0.as_secs_f64().round() as u64))
    });
    print(&format!("{} is now: {} on {}{ends}\n", now.id, now.fault.describe(), now.fault.target))
}

/// Read by what the fault takes, so that a slip is told before anything is asked.
fn params(
    def: &FaultDef,
    pairs: &[(String, String)],
) -> Result<BTreeMap<String, serde_json::Value>, Failure> {
    let mut out = BTreeMap::new();
    for (name, text) in pairs {
        let Some(param) = def.param(name) else {
            let names = || def.params.iter().map(|p| p.name);
            let hint = match did_you_mean(name, names()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(Failure::usage(format!("{} has no parameter {name:?}", def.name), hint));
        };
        let value = match text.as_str() {
            "" => serde_json::Value::Null,
            text => {
                let value = param.ty.parse(text).map_err(|e| {
                    Failure::usage(
                        format!("{} {name}: {e}", def.name),
                        format!("for example {name}={}", param.example),
                    )
                })?;
                serde_json::to_value(value).unwrap_or_default()
            }
        };
        out.insert(name.clone(), value);
    }
    Ok(out)
}

fn when(given: &[Condition]) -> Result<Option<Option<model::Matcher>>, Failure> {
    let mut pairs = Vec::new();
    for condition in given {
        match condition {
            Condition::Everything if given.len() == 1 => return Ok(Some(None)),
            Condition::Everything => {
                return Err(Failure::usage(
                    "--when everything is no condition beside others",
                    "leave it out, or the others",
                ));
            }
            Condition::Pair(key, value) => pairs.push((key.clone(), value.clone())),
        }
    }
    Ok(matcher(&pairs).map_err(Failure::Usage)?.map(Some))
}
