use super::agent::TempDir;
use super::need::{need, program};
use super::packages::{cache, install, pip, sources};
use super::server::{Server, free_port};
use std::path::PathBuf;
use std::process::Command;

/// A service in Python from tests/clients, on a private port, with the packages that its folder names.
pub struct Peer {
    pub port: u16,
    python: PathBuf,
    script: PathBuf,
    packages: PathBuf,
    _server: Server,
}

impl Peer {
    /// Starts `SCRIPT ARGS PORT`. Scripts of a folder share its packages.
    pub fn start(folder: &str, script: &str, args: &[&str]) -> Option<Peer> {
        let (python, packages) = packaged(folder)?;
        let script = sources(folder).join(script);
        let port = free_port();
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", &packages).arg(&script).args(args).arg(port.to_string());
        let server = Server::start(command, TempDir::new(), port);
        Some(Peer { port, python, script, packages, _server: server })
    }

    /// Another script of its folder, with the same packages.
    pub fn beside(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.env("PYTHONPATH", &self.packages).arg(self.script.with_file_name(script));
        command
    }

    /// The same script once more.
    pub fn script(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.env("PYTHONPATH", &self.packages).arg(&self.script);
        command
    }
}

/// A script from tests/clients that is no service, with the packages that its folder names.
pub fn client(folder: &str, script: &str) -> Option<Command> {
    let (python, packages) = packaged(folder)?;
    let mut command = Command::new(python);
    command.env("PYTHONPATH", packages).arg(sources(folder).join(script));
    Some(command)
}

/// Python, and where a folder's packages are.
fn packaged(folder: &str) -> Option<(PathBuf, PathBuf)> {
    let python = program("python3", &[]);
    if !need("python3", python.is_some()) {
        return None;
    }
    let python = python?;
    let wanted = sources(folder).join("requirements.txt");
    let packages = cache(folder, &[&wanted]);
    let installed = install(&packages, |part| pip(&python, part, &wanted));
    need("packages from PyPI, by pip", installed).then_some((python, packages))
}
