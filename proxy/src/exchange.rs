//! Question and answer on a connection whose protocol is not known: first byte up to first byte down.

use crate::metrics::Metrics;
use std::time::{Duration, Instant};

/// One side asks, the other answers.
#[derive(Default)]
pub(crate) struct Exchange {
    asked: Option<Instant>,
    /// How late faults made the first bytes up.
    up_late: Option<Duration>,
}

impl Exchange {
    /// Bytes have come from the client.
    pub(crate) fn asked(&mut self) {
        if self.asked.is_none() {
            self.asked = Some(Instant::now());
            self.up_late = None;
        }
    }

    /// Bytes leave for the service; those that went through a chain say when they had come.
    pub(crate) fn left_up(&mut self, arrived: Option<Instant>) {
        if let Some(arrived) = arrived
            && self.asked.is_some()
            && self.up_late.is_none()
        {
            self.up_late = Some(arrived.elapsed());
        }
    }

    /// Bytes leave for the client; those that went through a chain say when they had come.
    pub(crate) fn left_down(&mut self, arrived: Option<Instant>, metrics: &Metrics) {
        let Some(asked) = self.asked.take() else { return };
        let now = Instant::now();
        let down_late = arrived.map(|arrived| now.saturating_duration_since(arrived));
        let touched = self.up_late.is_some() || down_late.is_some();
        let added = self.up_late.take().unwrap_or_default() + down_late.unwrap_or_default();
        metrics.latency(now.saturating_duration_since(asked), added, touched);
    }
}
