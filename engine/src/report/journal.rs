use model::Event;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A run's own record, line by line as things happen; each line is on disk before the next is written, so that a run
/// that is killed leaves everything up to then.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Begins `journal.jsonl` in a directory that may not have one yet.
    pub fn create(dir: &Path) -> io::Result<Journal> {
        std::fs::create_dir_all(dir)?;
        let file = OpenOptions::new().create_new(true).append(true).open(dir.join("journal.jsonl"))?;
        File::open(dir)?.sync_all()?;
        Ok(Journal { file })
    }

    /// Appends events and syncs once.
    pub fn append(&mut self, events: &[Event]) -> io::Result<()> {
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}
