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
    let filter = model.ui.filter.value().trim();
    let pattern = Pattern::parse(filter, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut fits = |def: &FaultDef| {
        // Fuzzy in the name; in the rest only as it stands, or every word would be found everywhere.
        let mut buffer = Vec::new();
        filter.is_empty()
            || pattern.score(Utf32Str::new(def.name, &mut buffer), &mut matcher).is_some()
            || (filter.len() > 2 && def.summary.to_lowercase().contains(&filter.to_lowercase()))
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
