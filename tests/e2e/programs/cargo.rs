//! A cargo build, with sources and products in a served directory.

use super::table::Program;
use crate::ground::{Finished, Served, need, program};
use std::process::{Command, Stdio};

/// A small crate.
pub(super) struct Crate {
    served: Served,
}

impl Crate {
    pub(super) fn new() -> Option<Crate> {
        if !need("cargo", program("cargo", &[]).is_some()) {
            return None;
        }
        let served = Served::tracked(|dir| {
            std::fs::create_dir(dir.join("src")).unwrap();
            let manifest =
                "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
            std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
        })?;
        Some(Crate { served })
    }

    fn build(&self) -> Finished {
        let mut command = Command::new("cargo");
        command.args(["build", "--offline", "--quiet", "--color", "never"]).current_dir(self.served.dir());
        command.env("CARGO_TARGET_DIR", self.served.dir().join("target")).stdin(Stdio::null());
        command.output().unwrap().into()
    }
}

impl Program for Crate {
    fn name(&self) -> &'static str {
        "cargo build"
    }
    fn served(&self) -> &Served {
        &self.served
    }
    fn prepare(&mut self) {
        let _ = std::fs::remove_dir_all(self.served.dir().join("target"));
    }
    fn write(&mut self, n: u64) -> Result<(), String> {
        let main = format!("fn main() {{ println!(\"{{}}\", {n} + 1); }}\n");
        std::fs::write(self.served.dir().join("src/main.rs"), main)
            .map_err(|e| format!("writing a source: {e}"))?;
        let done = self.build();
        if done.code != 0 {
            return Err(format!("exit {}: {}", done.code, done.err.trim()));
        }
        let said =
            Command::new(self.served.dir().join("target/debug/small")).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        if said == (n + 1).to_string() { Ok(()) } else { Err(format!("it says {said:?}")) }
    }
    fn count(&mut self) -> Result<u64, String> {
        let done =
            Command::new(self.served.dir().join("target/debug/small")).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        said.parse().map_err(|_| format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)))
    }
    fn said(&self) -> String {
        String::new()
    }
    fn alive(&mut self) -> bool {
        true
    }
    fn kill(&mut self) {}
    fn restart(&mut self) {}
}
