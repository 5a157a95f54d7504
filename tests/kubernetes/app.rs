//! What the pods of the tests run, and what their cluster needs besides: one static program that needs nothing else.
//!
//! ```text
//! app pause           waits, as the first process of a pod
//! app web             a web server on 8080: /health, /who (who asks), /db (what the database says, and how long it took)
//! app db              a database on 5432: each line is answered with the address it came from
//! app job N           asks the database N times, a second apart, and ends
//! app ask URL         what a web server says
//! app dns AT FILE     names of services, of which the file has one a line: `db.shop.svc.cluster.local 10.96.1.2`
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["web"] => serve(8080, web),
        ["db"] => serve(5432, database),
        ["job", times] => {
            for _ in 0..times.parse().unwrap() {
                println!("{}", asked());
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        ["ask", url] => print!("{}", get(url).unwrap_or_else(|e| format!("error: {e}\n"))),
        ["dns", at, file] => names(at, file),
        _ => loop {
            std::thread::park();
        },
    }
}

/// Serves a port of both families, a thread for each connection, for ever.
fn serve(port: u16, answer: fn(TcpStream, IpAddr) -> std::io::Result<()>) {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).unwrap();
    loop {
        if let Ok((stream, from)) = listener.accept() {
            std::thread::spawn(move || answer(stream, from.ip().to_canonical()));
        }
    }
}

fn database(stream: TcpStream, from: IpAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        reader.get_mut().write_all(format!("{from}\n").as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn web(stream: TcpStream, from: IpAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let (status, body) = match path {
            "/health" => ("200 OK", "ok".to_owned()),
            "/who" => ("200 OK", from.to_string()),
            "/db" => ("200 OK", asked()),
            _ => ("404 Not Found", String::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        reader.get_mut().write_all((head + &body).as_bytes())?;
    }
}

/// What the database says, and after how many milliseconds.
fn asked() -> String {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://db:5432/shop".into());
    let place = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let begun = Instant::now();
    match ask_database(place) {
        Ok(line) => format!("{line} {}", begun.elapsed().as_millis()),
        Err(e) => format!("error: {place}: {e}"),
    }
}

fn ask_database(place: &str) -> std::io::Result<String> {
    let mut stream = reach(place)?;
    stream.write_all(b"who\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.trim() {
        "" => Err(std::io::ErrorKind::UnexpectedEof.into()),
        line => Ok(line.to_owned()),
    }
}

fn reach(place: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn get(url: &str) -> std::io::Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = reach(place)?;
    let path = if path.is_empty() { "/" } else { path };
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n")?;
    // The web server leaves it to its client to end.
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap_or(0);
        }
        if head.is_empty() {
            head = line.trim().split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(format!("{head}\n{}\n", String::from_utf8_lossy(&body).trim_end()))
}

/// Answers questions about names (RFC 1035) as far as programs in pods ask them.
fn names(at: &str, file: &str) {
    let socket = UdpSocket::bind(at).unwrap();
    let mut packet = [0; 512];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
        if let Some(answer) = answer(&packet[..length], file) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &[u8], file: &str) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = question.get(at..at + 2)?;
    let end = at + 4;
    let name = name.join(".");
    let known = std::fs::read_to_string(file).unwrap_or_default();
    let found = known.lines().filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == name);
    let address: Option<Ipv4Addr> = found.and_then(|(_, ip)| ip.trim().parse().ok());
    let mut answer = question.get(..2)?.to_vec();
    let of_four = kind == [0, 1] && address.is_some();
    answer.extend([0x85, if found.is_some() { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(of_four), 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    if let (true, Some(address)) = (of_four, address) {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
