//! What is changed in a file: from a fault's parameters to bytes.

use super::facts::{Facts, Kind};
use super::keep;
use super::spot::Spot;
use super::text;
use inject::Refusal;
use model::Injection;
use rustix::fs::OFlags;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

/// The largest file that is read as a whole: settings and hosts files are far below.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A new content.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Append(Vec<u8>),
    Length(u64),
    Whole(Vec<u8>),
}

/// What a fault makes of the file; also a line by which it is found later whether that is still in there.
pub(super) fn change(
    inject: &Injection,
    spot: &Spot,
    facts: &Facts,
) -> Result<(Change, Option<String>), Refusal> {
    let name = inject.name();
    let shown = spot.shown();
    if facts.kind != Kind::File {
        return Err(Refusal::new(
            format!("{shown} is no regular file"),
            "only those have a content that can be changed",
        ));
    }
    let bytes = |key: &str| {
        text::unescape(inject.text(key).unwrap_or_default())
            .map_err(|why| Refusal::new(format!("{key}: {why}"), "write a backslash as \\\\"))
    };
    let content = || {
        if facts.size > LARGEST {
            return Err(Refusal::new(
                format!("{shown} has {} bytes, and no more than {LARGEST} are read", facts.size),
                "replace it as a whole by from, or cut it with file_truncate",
            ));
        }
        let mut all = Vec::new();
        let read = keep::open(spot, &spot.name, OFlags::RDONLY).and_then(|mut f| f.read_to_end(&mut all));
        read.map(|_| all).map_err(|e| {
            Refusal::new(format!("{shown} cannot be read: {e}"), "run the agent as its owner or as root")
        })
    };
    let lines = || {
        String::from_utf8(content()?).map_err(|_| {
            Refusal::new(format!("{shown} is no text in UTF-8"), "use file_replace or file_append")
        })
    };
    Ok(match name {
        "file_append" => (Change::Append(bytes("text")?), None),
        "file_truncate" => (Change::Length(inject.size("size").unwrap_or_default().0), None),
        "file_replace" => (whole(inject, &shown, bytes, content)?, None),
        "hosts" => {
            let names: Vec<&str> = inject
                .text("names")
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|n| !n.is_empty())
                .collect();
            let fits = |n: &&str| n.chars().all(|c| c.is_alphanumeric() || "-._".contains(c));
            if names.is_empty() || !names.iter().all(fits) {
                return Err(Refusal::new(
                    "names are no host names",
                    "write for example names=payments,db.internal",
                ));
            }
            let address = inject.text("address").unwrap_or("192.0.2.1");
            if address.parse::<IpAddr>().is_err() {
                return Err(Refusal::new(
                    format!("address {address:?} is no IP address"),
                    "192.0.2.1 leads nowhere, 127.0.0.1 to here",
                ));
            }
            let new = text::hosts(&lines()?, &names, address);
            (Change::Whole(new.into()), Some(text::hosts_line(&names, address)))
        }
        "env_file" => {
            let none = std::collections::BTreeMap::new();
            let set = inject.map("set").unwrap_or(&none);
            let unset: Vec<&str> = inject
                .text("unset")
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|n| !n.is_empty())
                .collect();
            if set.is_empty() && unset.is_empty() {
                return Err(Refusal::new(
                    "env_file says nothing to change",
                    "give set=KEY:value or unset=KEY",
                ));
            }
            let old = lines()?;
            let new = text::settings(&old, set, &unset);
            if new == old {
                return Err(Refusal::new(
                    format!("{shown} says that already"),
                    "give other values, or look whether the keys are right",
                ));
            }
            (Change::Whole(new.into()), None)
        }
        other => return Err(Refusal::new(format!("{other} is no fault of files"), "see `murphy faults`")),
    })
}

fn whole(
    inject: &Injection,
    shown: &str,
    bytes: impl Fn(&str) -> Result<Vec<u8>, Refusal>,
    content: impl Fn() -> Result<Vec<u8>, Refusal>,
) -> Result<Change, Refusal> {
    let (new, find, from) = (inject.text("text"), inject.text("find"), inject.text("from"));
    Ok(Change::Whole(match (new, find, from) {
        (Some(_), None, None) => bytes("text")?,
        (_, Some(_), None) => {
            let (out, n) = text::replace(&content()?, &bytes("find")?, &bytes("text")?);
            if n == 0 {
                return Err(Refusal::new(
                    format!("{shown} has no {:?}", find.unwrap_or_default()),
                    "look at it: spaces and quotes count",
                ));
            }
            out
        }
        (None, None, Some(path)) => {
            let size = std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
            if size > LARGEST {
                return Err(Refusal::new(
                    format!("{path} is larger than {LARGEST} bytes"),
                    "use a smaller one",
                ));
            }
            std::fs::read(path).map_err(|e| {
                Refusal::new(format!("{path} cannot be read: {e}"), "it is a file on the agent's machine")
            })?
        }
        _ => {
            return Err(Refusal::new(
                "file_replace needs text, find with text, or from",
                "give for example find=\"timeout = 30\" text=\"timeout = 0\"",
            ));
        }
    }))
}

impl Change {
    /// Makes it so, in the file as it is, and syncs it.
    pub(super) fn apply(&self, spot: &Spot) -> io::Result<()> {
        let mut file = keep::open(spot, &spot.name, OFlags::WRONLY)?;
        match self {
            Change::Append(bytes) => {
                file.seek(SeekFrom::End(0))?;
                file.write_all(bytes)?;
            }
            Change::Length(size) => file.set_len(*size)?,
            Change::Whole(bytes) => {
                file.write_all_at(bytes, 0)?;
                file.set_len(bytes.len() as u64)?;
            }
        }
        file.sync_all()
    }

    /// In words.
    pub(super) fn words(&self, fault: &str, shown: &str) -> String {
        match self {
            Change::Append(bytes) => format!("append {} bytes to {shown}", bytes.len()),
            Change::Length(size) => format!("make {shown} {size} bytes long"),
            Change::Whole(bytes) => match fault {
                "hosts" => format!("point names elsewhere in {shown}"),
                "env_file" => format!("change settings in {shown}"),
                _ => format!("replace the content of {shown} ({} bytes then)", bytes.len()),
            },
        }
    }
}
