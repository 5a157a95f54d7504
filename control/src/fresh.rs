//! Something made of files that others replace: certificates are renewed, tokens changed, and a Secret's files are swapped
//! below a link.

use host::trust::TrustError;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes it of the files as they are now.
type Make<T> = Box<dyn Fn() -> Result<T, TrustError> + Send + Sync>;

/// A value made of files. Whether they are others is looked at when it is asked for, so that nothing ticks in between.
pub(crate) struct Fresh<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    seen: Vec<Stamp>,
    value: Arc<T>,
}

/// What tells one state of a file from the next; none: it cannot be looked at.
type Stamp = Option<[i64; 7]>;

/// What asking came to, besides the value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is as it was.
    None,
    /// It was made anew.
    Changed,
    /// The files are others and cannot be used: it is still what it was. Said once for each state of the files.
    Failed(TrustError),
}

impl<T> Fresh<T> {
    /// Makes it for the first time.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TrustError> + Send + Sync + 'static,
    ) -> Result<Fresh<T>, TrustError> {
        // Looked at before they are read: what changes in between is seen the next time.
        let seen = stamps(&files);
        let value = Arc::new(make()?);
        Ok(Fresh { files, make: Box::new(make), kept: Mutex::new(Kept { seen, value }) })
    }

    /// The value, of the files as they are now if they can be used.
    pub(crate) fn get(&self) -> (Arc<T>, News) {
        let seen = stamps(&self.files);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.seen == seen {
            return (kept.value.clone(), News::None);
        }
        kept.seen = seen;
        let news = match (self.make)() {
            Ok(value) => {
                kept.value = Arc::new(value);
                News::Changed
            }
            Err(e) => News::Failed(e),
        };
        (kept.value.clone(), news)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        // What a link leads to, however many there are on the way.
        let m = fs::metadata(file).ok()?;
        // Numbers of inodes and devices are compared, not counted with.
        let (device, inode) = (m.dev() as i64, m.ino() as i64);
        Some([device, inode, m.size() as i64, m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()])
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_swapped_below_a_link_is_seen_and_what_is_broken_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [("1", "one"), ("2", "two"), ("3", "bad")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), text).unwrap();
        }
        let link = |to: &str| {
            std::os::unix::fs::symlink(to, at("new")).unwrap();
            fs::rename(at("new"), at("data")).unwrap();
        };
        link("1");
        std::os::unix::fs::symlink("data/file", at("file")).unwrap();
        let file = at("file");
        let fresh = Fresh::new(vec![file.clone()], move || {
            let bad = |e: String| TrustError { what: e, hint: String::new() };
            let text = fs::read_to_string(&file).map_err(|e| bad(e.to_string()))?;
            if text == "bad" { Err(bad(text)) } else { Ok(text) }
        })
        .unwrap();
        let get = || {
            let (value, news) = fresh.get();
            (value.to_string(), news)
        };
        assert_eq!(get(), ("one".to_owned(), News::None));
        link("2");
        assert_eq!(get(), ("two".to_owned(), News::Changed));
        link("3");
        assert!(matches!(get(), (text, News::Failed(_)) if text == "two"));
        assert_eq!(get(), ("two".to_owned(), News::None));
        fs::remove_file(at("data")).unwrap();
        assert!(matches!(get(), (text, News::Failed(_)) if text == "two"));
        link("1");
        assert_eq!(get(), ("one".to_owned(), News::Changed));
    }
}
