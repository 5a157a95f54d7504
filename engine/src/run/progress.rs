//! What a run is asked for, and where it is.

use model::experiment::Format;
use model::units::Span;
use std::path::PathBuf;

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Overrides the file's seed.
    pub seed: Option<u64>,
    /// Where the report goes; none: no report but the record that is handed back.
    pub dir: Option<PathBuf>,
    /// Which files.
    pub formats: Vec<Format>,
    /// What paths in the file are relative to.
    pub base: PathBuf,
    /// Who started it.
    pub by: String,
}

/// Where a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct RunProgress {
    /// The experiment's name.
    pub name: String,
    /// Its phase: `baseline`, `stage`, `cooldown`, `done`.
    pub phase: String,
    /// The stage's name and number from 1, in phase `stage`.
    pub stage: Option<(String, usize)>,
    /// Its stages with their lengths.
    pub stages: Vec<(String, Span)>,
    /// Its seed.
    pub seed: u64,
    /// The verdict once it has ended.
    pub verdict: Option<model::Verdict>,
    /// Why, once it has ended.
    pub why: Option<String>,
    /// Where the report lies, once it has ended.
    pub report: Option<String>,
}
