//! The rows of the catalogue as they are shown: filtered, and folded by layer.

use crate::state::Model;
use model::FaultDef;
use model::catalogue::{self, Layer};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row {
    /// A heading.
    Layer(Layer),
    /// A fault.
    Fault(&'static FaultDef),
}

/// The rows that are shown now. A filter unfolds everything.
pub fn rows(model: &Model) -> Vec<Row> {
    let filter = model.ui.filter.value().trim().to_lowercase();
    let pattern = Pattern::parse(&filter, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    // What is found as it was typed is meant; only where nothing is, names are searched for something like it.
    let exact = catalogue::all().any(|def| def.name.contains(&filter));
    let mut fits = |def: &FaultDef| {
        let mut buffer = Vec::new();
        def.name.contains(&filter)
            || (filter.len() > 2 && def.summary.to_lowercase().contains(&filter))
            || (!exact && pattern.score(Utf32Str::new(def.name, &mut buffer), &mut matcher).is_some())
    };
    let mut out = Vec::new();
    for layer in Layer::ALL {
        let faults: Vec<Row> =
            catalogue::all().filter(|d| d.layer == layer && fits(d)).map(Row::Fault).collect();
        if faults.is_empty() {
            continue;
        }
        out.push(Row::Layer(layer));
        if !filter.is_empty() || !model.ui.folded.contains(&layer) {
            out.extend(faults);
        }
    }
    out
}
