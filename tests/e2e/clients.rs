//! Toxiproxy's clients, written by others and unchanged, at pinned versions from their registries.
//!
//! What they need is installed once into the target directory and found there afterwards. The scripts that use them are
//! in tests/clients; the suite of toxiproxy_rust is its own.

use crate::ground::{
    Finished, TempDir, cache, install, is_root, murphy_in, need, pip, program, run, sources,
};
use crate::toxiproxy::{Server, own};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn passed(done: &Finished) {
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    print!("{}", done.out);
}

#[test]
fn toxiproxy_python_from_pypi() {
    let Some(python) = program("python3", &[]) else {
        need("python3", false);
        return;
    };
    let wanted = sources("python").join("requirements.txt");
    let packages = cache("python", &[&wanted]);
    let installed = install(&packages, |part| pip(&python, part, &wanted));
    if !need("toxiproxy-python from PyPI, by pip", installed) {
        return;
    }
    let server = Server::start(&[]);
    let mut script = Command::new(python);
    script
        .env("PYTHONPATH", &packages)
        .arg(sources("python").join("check.py"))
        .arg(server.port.to_string())
        .arg(own());
    passed(&run(&mut script));
}

#[test]
fn toxiproxy_node_client_from_npm() {
    let (Some(node), Some(npm)) = (program("node", &[]), program("npm", &[])) else {
        need("node and npm", false);
        return;
    };
    let wanted = sources("node").join("package.json");
    let packages = cache("node", &[&wanted]);
    let installed = install(&packages, |part| {
        std::fs::copy(&wanted, part.join("package.json")).unwrap();
        let mut install = Command::new(&npm);
        install
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix"])
            .arg(part);
        install
    });
    if !need("toxiproxy-node-client from npm", installed) {
        return;
    }
    let server = Server::start(&[]);
    let mut script = Command::new(node);
    script
        .env("NODE_PATH", packages.join("node_modules"))
        .arg(sources("node").join("check.cjs"))
        .arg(server.port.to_string())
        .arg(own());
    passed(&run(&mut script));
}

/// A network of our own, for a suite that wants ports of its own.
struct Network(String);

impl Network {
    fn new() -> Option<Network> {
        let ip = program("ip", &["/sbin"])?;
        let network = Network(format!("murphy-{}", std::process::id()));
        let made = run(Command::new(&ip).args(["netns", "add", &network.0])).code == 0
            && run(Command::new(&ip).args(["-n", &network.0, "link", "set", "lo", "up"])).code == 0
            && run(&mut network.inside(Path::new("true"))).code == 0;
        made.then_some(network)
    }

    fn inside(&self, program_inside: &Path) -> Command {
        let mut command = Command::new(program("ip", &["/sbin"]).unwrap_or_else(|| "ip".into()));
        command.args(["netns", "exec", &self.0]).arg(program_inside);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// The suite of toxiproxy_rust with its documentation's examples, then ours of noxious-client. One test, for they are
/// built together.
#[test]
fn toxiproxy_rust_and_noxious_client_from_crates_io() {
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let manifest = sources("rust").join("Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients/rust");
    let with = |mut command: Command, args: &[&str]| {
        // The test's own build says things to cargo that do not concern another one.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_")
                && !matches!(&*name, "CARGO_HOME" | "CARGO_HTTP_CAINFO" | "CARGO_NET_OFFLINE")
            {
                command.env_remove(&*name);
            }
        }
        command
            .args(["test", "--locked", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target)
            .args(args);
        command
    };
    let build = ["--no-run", "-p", "clients", "-p", "toxiproxy_rust"];
    let built = (0..3_u64).any(|attempt| {
        std::thread::sleep(Duration::from_secs(attempt * 3));
        let done = match program("nice", &[]) {
            // Tests that measure time run beside it.
            Some(nice) => {
                let mut command = Command::new(nice);
                command.args(["-n", "15"]).arg(&cargo);
                run(&mut with(command, &build))
            }
            None => run(&mut with(Command::new(&cargo), &build)),
        };
        if done.code != 0 {
            eprintln!("{done:?}");
        }
        done.code == 0
    });
    if !need(
        "toxiproxy_rust and noxious-client from crates.io, and the headers of OpenSSL to build them",
        built,
    ) {
        return;
    }

    let server = Server::start(&[]);
    let args = ["--offline", "-p", "clients", "--", "--test-threads=1"];
    let mut noxious = with(Command::new(&cargo), &args);
    noxious.env("TOXIPROXY_PORT", server.port.to_string()).env("TOXIPROXY_LISTEN", own());
    let done = run(&mut noxious);
    passed(&done);
    assert!(done.out.contains("4 passed"), "{}", done.out);
    drop(server);

    let network = is_root().then(Network::new).flatten();
    if !need("root and network namespaces: the suite of toxiproxy_rust has fixed ports", network.is_some()) {
        return;
    }
    let Some(network) = network else { return };
    let dir = TempDir::new();
    let mut command = network.inside(Path::new(env!("CARGO_BIN_EXE_murphy")));
    for (name, value) in murphy_in(dir.path()).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.args(["toxiproxy", "-port", "8474"]).stdin(Stdio::null()).current_dir(dir.path());
    let _server = Server::wait(dir, command);
    let args = ["--offline", "-p", "toxiproxy_rust", "--", "--test-threads=1"];
    let done = run(&mut with(network.inside(&cargo), &args));
    passed(&done);
    assert!(done.out.contains("11 passed") && done.out.contains("26 passed"), "{}", done.out);
}
