//! The blast radius: what share of the traffic a fault will hit, in words and as one of three sizes.

use crate::state::Model;
use crate::tell::number;
use model::units::Span;
use model::{Fault, Share, TargetKind};

/// How much asking it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Enter arms.
    Low,
    /// `y` arms.
    Medium,
    /// The target's name arms.
    High,
}

impl Size {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Size::Low => "LOW",
            Size::Medium => "MEDIUM",
            Size::High => "HIGH",
        }
    }
}

/// A blast radius.
#[derive(Debug, Clone, PartialEq)]
pub struct Radius {
    /// How large.
    pub size: Size,
    /// How many of five bars.
    pub bars: usize,
    /// What is hit: one or two short lines.
    pub words: Vec<String>,
}

/// Beyond this a fault is one size larger: nobody watches for so long.
const LONG: Span = Span::secs(3600);

/// The radius of a fault, with the traffic as it is now.
pub fn of(model: &Model, agent: usize, fault: &Fault) -> Radius {
    let def = fault.inject.def();
    let mut words = Vec::new();
    let (mut size, mut bars);
    match def.counts {
        None => {
            let whole = matches!(fault.target.kind, TargetKind::Process | TargetKind::Container);
            (size, bars) = if whole { (Size::High, 5) } else { (Size::Medium, 3) };
            words.push(format!("the whole of {}", fault.target));
        }
        Some(counts) => {
            let most = fault.hits_at_most();
            let target = fault.target.to_string();
            let (rate, total) = (model.rate_of(agent, &target), model.total_rate());
            let part = match rate {
                Some(rate) if total > 0.0 => most * (rate / total),
                _ => most,
            };
            (size, bars) = match part {
                p if p < 0.03 => (Size::Low, 1),
                p if p < 0.10 => (Size::Low, 2),
                p if p < 0.30 => (Size::Medium, 3),
                p if p < 0.50 => (Size::Medium, 4),
                _ => (Size::High, 5),
            };
            words.push(match (rate, fault.when.is_some()) {
                (Some(rate), matched) if total > 0.0 => {
                    let up_to = if matched { "up to" } else { "about" };
                    format!(
                        "{up_to} {:.0} of {:.0} {} · {}% of all traffic",
                        rate * most,
                        total,
                        if counts == "requests" { "requests/s" } else { "per second" },
                        if part >= 0.1 { format!("{:.0}", part * 100.0) } else { number(part * 100.0) }
                    )
                }
                _ => format!("{} of the {counts} of {target}; no traffic now", share_words(most)),
            });
            if let Share::First(n) = fault.share {
                words.push(format!("the first {n} {counts}, then none"));
            }
        }
    }
    if def.irreversible {
        words.push(format!("cannot be undone: {}", def.ends));
        size = size.max(Size::Medium);
        bars = bars.max(3);
    }
    if fault.lasts.is_some_and(|l| l > LONG) {
        words.push("longer than an hour".to_owned());
        size = if size == Size::Low { Size::Medium } else { Size::High };
        bars = (bars + 1).min(5);
    }
    Radius { size, bars, words }
}

fn share_words(most: f64) -> String {
    if most >= 1.0 { "all".to_owned() } else { format!("{}%", number(most * 100.0)) }
}
