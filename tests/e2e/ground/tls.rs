use super::agent::{Finished, TempDir};
use super::need::{need, program};
use super::server::{Server, free_port};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The end of every answer.
pub const END: &str = "end\n";

/// nginx with TLS: plain HTTP on one port, TLS (HTTP/1.1 and HTTP/2 by ALPN) on another, and TLS for those with a
/// certificate on a third. Answers have two kilobytes. Its certificates are of a CA of its own, `ca.pem` in its directory:
/// for `service.test`, `localhost` and 127.0.0.1; `client.pem` and `client.key` are a client's.
pub struct NginxTls {
    pub plain: u16,
    pub tls: u16,
    pub demanding: u16,
    dir: PathBuf,
    _server: Server,
}

impl NginxTls {
    pub fn start() -> Option<NginxTls> {
        let (nginx, openssl) = (program("nginx", &[]), program("openssl", &[]));
        if !need("nginx (apt-get install nginx-light)", nginx.is_some())
            || !need("openssl", openssl.is_some())
        {
            return None;
        }
        let dir = TempDir::new();
        certificates(dir.path());
        let [plain, tls, demanding] = std::array::from_fn(|_| free_port());
        let root = dir.path().display();
        let answer = "x".repeat(2000);
        let secure = format!("ssl_certificate {root}/service.pem; ssl_certificate_key {root}/service.key;");
        let location = format!("location / {{ return 200 '{answer}{}\\n'; }}", END.trim());
        let conf = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; keepalive_requests 1000000; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{plain}; {location} }}\n\
             server {{ listen 127.0.0.1:{tls} ssl http2; {secure} {location} }}\n\
             server {{ listen 127.0.0.1:{demanding} ssl; {secure} ssl_client_certificate {root}/ca.pem; ssl_verify_client on; {location} }} }}\n"
        );
        let file = dir.file("nginx.conf", &conf);
        let mut command = Command::new(nginx?);
        command.arg("-c").arg(&file).arg("-e").arg(dir.path().join("error.log"));
        let path = dir.path().to_owned();
        Some(NginxTls { plain, tls, demanding, dir: path, _server: Server::start(command, dir, plain) })
    }

    /// A file of its directory.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn certificates(dir: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(
        dir,
        &[
            &[
                "req",
                "-x509",
                "-subj",
                "/CN=the service's CA",
                "-days",
                "2",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
            &key[..],
        ]
        .concat(),
    );
    for (name, alternative) in
        [("service", "DNS:service.test,DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client.test")]
    {
        let [wanted, given, private] = ["csr", "pem", "key"].map(|ending| format!("{name}.{ending}"));
        let subject = format!("/CN={name}.test");
        openssl(dir, &[&["req", "-subj", &subject, "-keyout", &private, "-out", &wanted], &key[..]].concat());
        let ext = format!("{name}.ext");
        std::fs::write(dir.join(&ext), format!("subjectAltName={alternative}\n")).unwrap();
        openssl(
            dir,
            &[
                "x509",
                "-req",
                "-in",
                &wanted,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                &ext,
                "-out",
                &given,
            ],
        );
    }
}

/// Runs openssl in a directory.
fn openssl(dir: &Path, args: &[&str]) {
    let done = Command::new("openssl").args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// curl to a host whose address is 127.0.0.1, with that root; what it says on standard error is `err`, what it prints is
/// the version of HTTP and the status.
pub fn curl(host: &str, port: u16, root: &str, more: &[&str]) -> Finished {
    let to = format!("::127.0.0.1:{port}");
    Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-m", "20", "--cacert", root])
        .args(["--connect-to", &to])
        .args(more)
        .arg(format!("https://{host}/"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into()
}

/// `openssl s_client` to a host whose address is 127.0.0.1, which checks its certificate and name, asks with HTTP/1.0 and
/// reads to the end.
pub fn s_client(host: &str, port: u16, root: &str, more: &[&str]) -> Finished {
    use std::io::Write;
    let mut child = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", host])
        .args(["-verify_hostname", host, "-verify_return_error", "-CAfile", root, "-ign_eof"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended before it was asked to say anything.
    let _ = child.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
    child.wait_with_output().unwrap().into()
}

/// Certificates of the control API as `deploy/kubernetes/operators-mtls` has people make them, in that directory: `ca.crt`,
/// `tls.crt`, `tls.key` and a `.pem` for each name.
pub fn control_certificates(dir: &Path, names: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/operators-mtls/certificates");
    std::fs::create_dir_all(dir).unwrap();
    let done = Command::new(script).args(names).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A copy of that overlay, and of what it stands on, with certificates in it: kustomize takes no files from elsewhere. Where
/// the overlay is.
pub fn control_overlay(into: &Path, names: &[&str]) -> PathBuf {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    for part in ["operators", "operators-mtls"] {
        std::fs::create_dir_all(into.join(part)).unwrap();
        for file in std::fs::read_dir(deploy.join(part)).unwrap().flatten() {
            std::fs::copy(file.path(), into.join(part).join(file.file_name())).unwrap();
        }
    }
    control_certificates(&into.join("operators-mtls"), names);
    into.join("operators-mtls")
}
