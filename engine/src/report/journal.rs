use model::Event;
use model::event::EventKind;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

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

/// Writes a journal on a thread of its own: a sync takes milliseconds on a busy disk.
#[derive(Debug)]
pub struct JournalThread {
    send: mpsc::Sender<Event>,
    failed: Arc<OnceLock<String>>,
    thread: JoinHandle<()>,
}

impl JournalThread {
    /// Takes over a journal.
    pub fn start(mut journal: Journal) -> JournalThread {
        let (send, receive) = mpsc::channel::<Event>();
        let failed = Arc::new(OnceLock::new());
        let tell = failed.clone();
        let thread = std::thread::spawn(move || {
            while let Ok(first) = receive.recv() {
                let mut batch = vec![first];
                batch.extend(receive.try_iter());
                if let Err(e) = journal.append(&batch) {
                    let _ = tell.set(e.to_string());
                    return;
                }
            }
        });
        JournalThread { send, failed, thread }
    }

    /// Has an event written, some time soon and in order. A second in which nothing was counted is no event.
    pub fn write(&self, event: Event) {
        if matches!(&event.kind, EventKind::Samples { targets } if targets.is_empty()) {
            return;
        }
        // After a failure nobody listens; that is told by `failure`.
        let _ = self.send.send(event);
    }

    /// Why nothing is written any more.
    pub fn failure(&self) -> Option<&String> {
        self.failed.get()
    }

    /// Writes what is left and ends.
    pub fn finish(self) {
        drop(self.send);
        // Only a panic in the thread could make this fail, and there is none to tell it to.
        let _ = self.thread.join();
    }
}
