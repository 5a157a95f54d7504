//! What is shown of the requests: which, and which one is selected.

use super::Model;
use control::requests::says;
use control::{HoldView, RequestQuery};
use model::{RequestState, RequestView};
use tui_input::Input;

/// The table as the person has it, the newest request first.
#[derive(Debug, Default)]
pub struct Browse {
    /// Only requests in which these words stand.
    pub filter: Input,
    /// The selected row.
    pub row: usize,
    /// The request in it, by agent and number: it keeps the selection when rows move. None follows the newest.
    pub selected: Option<(usize, u64)>,
    /// The rows: agent, and place in its list.
    pub rows: Vec<(usize, usize)>,
}

impl Browse {
    /// What the agents are asked: they choose before they cut, so that a filter finds what is beyond the limit.
    pub fn query(&self) -> RequestQuery {
        RequestQuery { text: self.filter.value().trim().to_owned(), ..RequestQuery::default() }
    }
}

impl Model {
    /// A request as it was last heard of.
    pub fn request(&self, agent: usize, id: u64) -> Option<&RequestView> {
        let list = self.agents.get(agent)?.requests.as_ref()?.as_ref().ok()?;
        list.requests.iter().find(|r| r.id == id)
    }

    /// The requests in the order of the table.
    pub fn request_rows(&self) -> impl ExactSizeIterator<Item = Option<(usize, &RequestView)>> {
        self.ui.requests.rows.iter().map(|(agent, at)| Some((*agent, self.request_at(*agent, *at)?)))
    }

    /// The selected request; the newest when none was chosen.
    pub fn selected_request(&self) -> Option<(usize, &RequestView)> {
        match self.ui.requests.selected {
            Some((agent, id)) => Some((agent, self.request(agent, id)?)),
            None => self.request_rows().next().flatten(),
        }
    }

    /// How many requests fit the filter at all agents, and how many are held by hand.
    pub fn request_counts(&self) -> (usize, usize) {
        let lists = self.agents.iter().filter_map(|a| a.requests.as_ref()?.as_ref().ok());
        lists.fold((0, 0), |(total, held), list| (total + list.total, held + list.held))
    }

    /// What holds requests by hand, with the agent.
    pub fn holds(&self) -> impl Iterator<Item = (usize, &HoldView)> {
        let lists = self.agents.iter().enumerate();
        lists
            .filter_map(|(i, a)| Some((i, a.requests.as_ref()?.as_ref().ok()?)))
            .flat_map(|(i, list)| list.holds.iter().map(move |hold| (i, hold)))
    }

    /// Makes the rows anew, after lists or the filter changed.
    pub fn sort_requests(&mut self) {
        let text = self.ui.requests.filter.value();
        let mut rows: Vec<(usize, usize, u64, u64)> = Vec::new();
        for (i, agent) in self.agents.iter().enumerate() {
            if let Some(Ok(list)) = &agent.requests {
                let fitting = list.requests.iter().enumerate().filter(|(_, r)| says(r, text));
                rows.extend(fitting.map(|(at, r)| (i, at, r.at_ms, r.id)));
            }
        }
        rows.sort_by_key(|(_, _, at_ms, id)| std::cmp::Reverse((*at_ms, *id)));
        let chosen = self.ui.requests.selected;
        let place = chosen.and_then(|c| rows.iter().position(|(i, _, _, id)| (*i, *id) == c));
        self.ui.requests.rows = rows.into_iter().map(|(i, at, ..)| (i, at)).collect();
        match place {
            Some(row) => self.ui.requests.row = row,
            // It is not kept any more, or none was chosen: the newest is looked at.
            None => (self.ui.requests.row, self.ui.requests.selected) = (0, None),
        }
        self.dirty = true;
    }

    /// Selects a row, or the last one when there are fewer. The first row follows what is newest.
    pub fn select_request(&mut self, row: usize) {
        let row = row.min(self.ui.requests.rows.len().saturating_sub(1));
        let there = self.ui.requests.rows.get(row).copied().filter(|_| row > 0);
        self.ui.requests.row = row;
        self.ui.requests.selected =
            there.and_then(|(agent, at)| Some((agent, self.request_at(agent, at)?.id)));
    }

    /// Whether requests are asked for: only while they are looked at, and while some are held, which the head line says
    /// everywhere.
    pub fn polls_requests(&self) -> bool {
        let wanted = match self.ui.screen {
            crate::screen::Screen::Requests => self.ui.frozen.is_none(),
            _ => self.holds().next().is_some(),
        };
        wanted && self.agents.iter().any(super::Agent::up)
    }

    fn request_at(&self, agent: usize, at: usize) -> Option<&RequestView> {
        self.agents.get(agent)?.requests.as_ref()?.as_ref().ok()?.requests.get(at)
    }
}

/// Whether a request is over.
pub fn is_over(request: &RequestView) -> bool {
    matches!(request.state, RequestState::Done | RequestState::Broken)
}
