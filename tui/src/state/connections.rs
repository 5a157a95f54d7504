//! What is shown of the open connections: which, in which order, and which one is selected.

use super::Model;
use control::connections::says;
use control::{ConnectionQuery, Sort};
use model::ConnectionView;
use tui_input::Input;

/// The table as the person has it. The rows are kept, so that a busy stream of events does not sort them again and again.
#[derive(Debug, Default)]
pub struct Browse {
    /// Only connections in which these words stand.
    pub filter: Input,
    /// Which come first.
    pub sort: Sort,
    /// The selected row.
    pub row: usize,
    /// The connection in it, by agent and number: it keeps the selection when rows move.
    pub selected: Option<(usize, u64)>,
    /// The rows: agent, and place in its list.
    pub rows: Vec<(usize, usize)>,
}

impl Browse {
    /// What the agents are asked: they choose before they cut, so that a filter finds what is beyond the limit.
    pub fn query(&self) -> ConnectionQuery {
        ConnectionQuery {
            text: self.filter.value().trim().to_owned(),
            sort: self.sort,
            ..ConnectionQuery::default()
        }
    }
}

impl Model {
    /// A connection as it was last heard of.
    pub fn connection(&self, agent: usize, id: u64) -> Option<&ConnectionView> {
        let list = self.agents.get(agent)?.connections.as_ref()?.as_ref().ok()?;
        list.connections.iter().find(|c| c.id == id)
    }

    /// The connections in the order of the table.
    pub fn connection_rows(&self) -> impl ExactSizeIterator<Item = Option<(usize, &ConnectionView)>> {
        self.ui.connections.rows.iter().map(|(agent, at)| Some((*agent, self.connection_at(*agent, *at)?)))
    }

    /// The selected connection.
    pub fn selected_connection(&self) -> Option<(usize, &ConnectionView)> {
        let (agent, id) = self.ui.connections.selected?;
        Some((agent, self.connection(agent, id)?))
    }

    /// How many connections fit the filter at all agents, and how many are held by hand.
    pub fn connection_counts(&self) -> (usize, usize) {
        let lists = self.agents.iter().filter_map(|a| a.connections.as_ref()?.as_ref().ok());
        lists.fold((0, 0), |(total, held), list| (total + list.total, held + list.held))
    }

    /// Makes the rows anew, after lists, filter or order changed.
    pub fn sort_connections(&mut self) {
        let browse = &self.ui.connections;
        let text = browse.filter.value();
        let mut rows: Vec<(usize, usize, &ConnectionView)> = Vec::new();
        for (i, agent) in self.agents.iter().enumerate() {
            if let Some(Ok(list)) = &agent.connections {
                let fitting = list.connections.iter().enumerate().filter(|(_, c)| says(c, text));
                rows.extend(fitting.map(|(at, c)| (i, at, c)));
            }
        }
        browse.sort.order(&mut rows, |(_, _, c)| c);
        let chosen = browse.selected;
        let place = rows.iter().position(|(i, _, c)| chosen == Some((*i, c.id)));
        let rows: Vec<(usize, usize)> = rows.into_iter().map(|(i, at, _)| (i, at)).collect();
        self.ui.connections.rows = rows;
        // One that has ended leaves the selection to the row that took its place.
        self.select_connection(place.unwrap_or(self.ui.connections.row));
        self.dirty = true;
    }

    /// Selects a row, or the last one when there are fewer.
    pub fn select_connection(&mut self, row: usize) {
        let row = row.min(self.ui.connections.rows.len().saturating_sub(1));
        let there = self.ui.connections.rows.get(row).copied();
        self.ui.connections.row = row;
        self.ui.connections.selected =
            there.and_then(|(agent, at)| Some((agent, self.connection_at(agent, at)?.id)));
    }

    fn connection_at(&self, agent: usize, at: usize) -> Option<&ConnectionView> {
        self.agents.get(agent)?.connections.as_ref()?.as_ref().ok()?.connections.get(at)
    }
}
