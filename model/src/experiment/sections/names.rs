//! Names that files give to things, and names that should be known.

use crate::problem::{Place, did_you_mean};
use crate::yaml::{Data, Fields, Reader};

/// Names become parts of file names and commands. What cannot be one is noted.
pub(in crate::experiment) fn check_name(r: &Reader, place: Place, name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 100 || !name.chars().all(fine) || name.starts_with(['.', '-']) {
        r.refuse::<()>(place, format!("{name:?} cannot be a name"), "use letters, digits, - and _");
        return false;
    }
    true
}

/// What to say of a name that is not there.
pub(super) fn known(name: &str, names: &[&str]) -> String {
    match did_you_mean(name, names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "the file has none".to_owned(),
        None => format!("there are {}", names.join(", ")),
    }
}

/// Whether the file names such a target, also when what stands behind the name could not be read: then that has been
/// reported already.
pub(super) fn declared(top: &Fields<'_>, name: &str) -> bool {
    let node = top.get("targets").map(|n| &n.data);
    matches!(node, Some(Data::Map(entries)) if entries.iter().any(|(k, _)| k.text == name))
}
