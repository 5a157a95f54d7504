use super::{init, ways};
use crate::cli::SidecarRun;
use crate::failure::Failure;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use pods::redirect::Redirect;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Installs the redirect as what is given back owns it, and becomes the user that the proxy runs as, who has no capability.
pub fn take_over(args: &SidecarRun) -> Result<impl Sized + use<>, Failure> {
    let ways = ways(&args.ports)?;
    if ways.is_empty() {
        return Err(Failure::usage(
            "no port is named, so nothing would be redirected",
            "name some: --inbound web=8080/http",
        ));
    }
    let redirect = Redirect { ways, user: args.uid, probes: Vec::new() };
    let rules = redirect.install_owned().map_err(|e| init::failure(&e))?;
    if Uid::effective().is_root() && args.uid != 0 {
        places();
        let (user, group) = (Uid::from_raw(args.uid), Gid::from_raw(args.uid));
        become_user(user, group).map_err(|e| {
            Failure::cannot(
                format!("cannot become user {}: {e}", args.uid),
                "it needs CAP_SETUID and CAP_SETGID at the start",
            )
        })?;
    }
    Ok(rules)
}

fn become_user(user: Uid, group: Gid) -> nix::Result<()> {
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // Who changes its user may not look at itself in /proc any more, where older kernels tell what libraries ask for.
    nix::sys::prctl::set_dumpable(true)
}

/// Makes where the socket and the state go, so that the other user can: what is missing shows there and then.
fn places() {
    let state = std::env::var_os("MURPHY_STATE_DIR").map(PathBuf::from);
    let socket = std::env::var_os("MURPHY_SOCKET").map(PathBuf::from);
    let above =
        [state.as_deref().and_then(|p| p.parent()), socket.as_deref().and_then(|p| p.parent()?.parent())];
    for dir in above.into_iter().flatten().filter(|dir| !dir.exists()) {
        let _ = fs::create_dir_all(dir);
        // As a directory for temporary files.
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o1777));
    }
}
