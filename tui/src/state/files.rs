//! What is shown of the operations on files: which, how often each kind is done, and which one is selected.

use super::Model;
use crate::screen::Screen;
use control::OperationQuery;
use control::operations::{OperationRow, says};
use model::FileOperation;
use std::collections::BTreeMap;
use tui_input::Input;

/// The tail as the person has it, the newest operation first.
#[derive(Debug, Default)]
pub struct Browse {
    /// Only operations in which these words stand.
    pub filter: Input,
    /// The selected row.
    pub row: usize,
    /// The operation in it, by agent, target and number: it keeps the selection when rows move. None follows the newest.
    pub selected: Option<(usize, String, u64)>,
    /// The rows: agent, and place in its list.
    pub rows: Vec<(usize, usize)>,
    /// How often each kind is done, by agent.
    pub rates: BTreeMap<usize, Rates>,
}

/// Kinds of operations by target and name.
type Kind = (String, String);

/// How often each kind is done in a second.
#[derive(Debug, Default)]
pub struct Rates {
    counted_ms: Option<f64>,
    counts: BTreeMap<Kind, u64>,
    per_second: BTreeMap<Kind, f64>,
}

/// Rates are those of at least so long.
const SPAN_MS: f64 = 900.0;

impl Rates {
    /// How often in a second; none before two lists have come.
    pub fn of(&self, row: &OperationRow) -> Option<f64> {
        self.per_second.get(&(row.target.to_string(), row.op.clone())).copied()
    }

    fn count(&mut self, kinds: &[OperationRow], now_ms: f64) {
        let passed = self.counted_ms.map(|before| now_ms - before);
        if passed.is_some_and(|ms| ms < SPAN_MS) {
            return;
        }
        let mut per_second = BTreeMap::new();
        for row in kinds {
            let key = (row.target.to_string(), row.op.clone());
            if let (Some(ms), Some(before)) = (passed, self.counts.get(&key)) {
                per_second.insert(key.clone(), row.count.saturating_sub(*before) as f64 * 1000.0 / ms);
            }
            self.counts.insert(key, row.count);
        }
        self.counted_ms = Some(now_ms);
        self.per_second = per_second;
    }
}

impl Browse {
    /// What the agents are asked: they choose before they cut, so that a filter finds what is beyond the limit.
    pub fn query(&self) -> OperationQuery {
        OperationQuery { text: self.filter.value().trim().to_owned(), ..OperationQuery::default() }
    }
}

impl Model {
    /// The operations in the order of the table.
    pub fn operation_rows(&self) -> impl ExactSizeIterator<Item = Option<(usize, &FileOperation)>> {
        self.ui.files.rows.iter().map(|(agent, at)| Some((*agent, self.operation_at(*agent, *at)?)))
    }

    /// The selected operation; the newest when none was chosen.
    pub fn selected_operation(&self) -> Option<(usize, &FileOperation)> {
        self.ui
            .files
            .rows
            .get(self.ui.files.row)
            .and_then(|(agent, at)| Some((*agent, self.operation_at(*agent, *at)?)))
    }

    /// How many operations fit the filter at all agents.
    pub fn operation_count(&self) -> usize {
        self.agents.iter().filter_map(|a| a.operations.as_ref()?.as_ref().ok()).map(|list| list.total).sum()
    }

    /// Every kind of operation with its agent, the most frequent first.
    pub fn operation_kinds(&self) -> Vec<(usize, &OperationRow)> {
        let lists = self.agents.iter().enumerate();
        let lists = lists.filter_map(|(i, a)| Some((i, a.operations.as_ref()?.as_ref().ok()?)));
        let mut kinds: Vec<_> = lists.flat_map(|(i, list)| list.kinds.iter().map(move |k| (i, k))).collect();
        kinds.sort_by(|(i, a), (j, b)| b.count.cmp(&a.count).then_with(|| (i, &a.op).cmp(&(j, &b.op))));
        kinds
    }

    /// An agent's list has come: how often each kind is done.
    pub fn count_operations(&mut self, agent: usize) {
        if let Some(Ok(list)) = &self.agents[agent].operations {
            self.ui.files.rates.entry(agent).or_default().count(&list.kinds, self.now_ms);
        }
    }

    /// Makes the rows anew, after lists or the filter changed.
    pub fn sort_operations(&mut self) {
        let text = self.ui.files.filter.value();
        let mut rows = Vec::new();
        for (i, agent) in self.agents.iter().enumerate() {
            if let Some(Ok(list)) = &agent.operations {
                let fitting = list.operations.iter().enumerate().filter(|(_, o)| says(o, text));
                rows.extend(fitting.map(|(at, o)| (i, at, o.at_ms, o.seq)));
            }
        }
        rows.sort_by_key(|(_, _, at_ms, seq)| std::cmp::Reverse((*at_ms, *seq)));
        let rows: Vec<(usize, usize)> = rows.into_iter().map(|(i, at, ..)| (i, at)).collect();
        let chosen = self.ui.files.selected.clone();
        let place = chosen.and_then(|(agent, target, seq)| {
            rows.iter().position(|(i, at)| {
                *i == agent
                    && self
                        .operation_at(*i, *at)
                        .is_some_and(|o| o.seq == seq && o.target.to_string() == target)
            })
        });
        self.ui.files.rows = rows;
        match place {
            Some(row) => self.ui.files.row = row,
            // It is not kept any more, or none was chosen: the newest is looked at.
            None => (self.ui.files.row, self.ui.files.selected) = (0, None),
        }
        self.dirty = true;
    }

    /// Selects a row, or the last one when there are fewer. The first row follows what is newest.
    pub fn select_operation(&mut self, row: usize) {
        let row = row.min(self.ui.files.rows.len().saturating_sub(1));
        let there = self.ui.files.rows.get(row).copied().filter(|_| row > 0);
        self.ui.files.row = row;
        self.ui.files.selected = there.and_then(|(agent, at)| {
            let operation = self.operation_at(agent, at)?;
            Some((agent, operation.target.to_string(), operation.seq))
        });
    }

    /// Whether operations are asked for: only while they are looked at.
    pub fn polls_operations(&self) -> bool {
        self.ui.screen == Screen::Files
            && self.ui.frozen.is_none()
            && self.agents.iter().any(super::Agent::up)
    }

    fn operation_at(&self, agent: usize, at: usize) -> Option<&FileOperation> {
        self.agents.get(agent)?.operations.as_ref()?.as_ref().ok()?.operations.get(at)
    }
}
