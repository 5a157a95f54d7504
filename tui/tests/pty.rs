//! The console in a real pseudo-terminal, on an agent behind a real socket, read back through a terminal parser.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Long, for a loaded machine; nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

struct Console {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    output: mpsc::Receiver<Vec<u8>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example is built along with the tests of its package.
fn example() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/console");
    assert!(path.exists(), "{} is missing: cargo build -p murphy-tui --example console", path.display());
    path
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

impl Console {
    fn open(columns: u16, rows: u16, words: &[&str]) -> Console {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(example());
        command.args(words);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        let parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        Console { parser, bytes: Vec::new(), output, keys, child, master: pair.master }
    }

    fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until the screen is as it should be.
    fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !is(&self.screen()) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("never {what}:\n{}", self.screen());
            };
            self.parser.process(&bytes);
            self.bytes.extend(bytes);
        }
    }

    fn see(&mut self, text: &str) {
        self.until(&format!("{text:?}"), |s| s.contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Goes down in the form to a field, whatever fields are before it.
    fn walk_to(&mut self, field: &str) {
        let selected = |s: &str| {
            let name = s.split("› ").nth(1).and_then(|rest| rest.split_whitespace().next());
            name.unwrap_or_default().to_owned()
        };
        loop {
            let now = selected(&self.screen());
            if now == field {
                return;
            }
            self.press("\u{1b}[B");
            self.until("the next field", |s| selected(s) != now);
        }
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// Waits for the end of the program and takes in its last words.
    fn end(&mut self) -> bool {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(500)) {
            self.parser.process(&bytes);
            self.bytes.extend(bytes);
        }
        status.success()
    }

    fn gave_the_terminal_back(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
    }
}

#[test]
fn arm_halt_in_a_text_field_resize_and_leave() {
    let mut c = Console::open(120, 36, &["lone"]);
    c.see("proxy:cart");
    c.see("HALT ALL");
    // Arm a small fault: no question is asked.
    c.press("a");
    c.see("Catalogue");
    c.press("\r");
    c.see("› delay");
    c.press("\u{15}250ms");
    c.see("delay=250ms");
    // Down to the share, and down to a hundredth.
    c.walk_to("share");
    c.press("\u{15}1%");
    c.see("LOW");
    c.press("\r");
    c.see("Armed 1");
    c.see("latency 250ms");

    // Into a text field again, and halt from there.
    c.press("2");
    c.see("Catalogue");
    c.press("\r");
    c.see("› delay");
    c.press("12\u{18}");
    c.see("HALTED by");
    c.see("Nothing can be armed until the halt is lifted");
    c.until("nothing armed", |s| s.contains("0 armed"));

    c.resize(60, 15);
    c.until("small", |s| s.lines().all(|l| l.chars().count() <= 60) && s.contains("^X HALT"));
    c.resize(50, 10);
    c.see("is too small");
    c.resize(120, 36);
    c.see("HALT ALL");

    c.press("r");
    c.see("type lift to lift it");
    c.press("lift\r");
    c.until("lifted", |s| !s.contains("HALTED by") && s.contains("the halt is lifted"));
    c.press("q");
    assert!(c.end());
    c.gave_the_terminal_back();
}

#[test]
fn without_colours_no_colour_is_sent() {
    let mut c = Console::open(80, 24, &["lone", "mono"]);
    c.see("proxy:cart");
    c.press("?");
    c.see("type to filter");
    c.press("\u{1b}");
    c.until("closed", |s| !s.contains("type to filter"));
    let badge = c.parser.screen().cell(0, 1).unwrap();
    assert!(badge.inverse() && badge.bold(), "reverse and bold stay");
    let text = String::from_utf8_lossy(&c.bytes).into_owned();
    let coloured = text.split("\u{1b}[").skip(1).filter_map(|s| s.split_once('m')).find(|(p, _)| {
        p.split(';').any(|n| matches!(n.parse::<u8>(), Ok(30..=38 | 40..=48 | 90..=97 | 100..=107)))
            && p.chars().all(|c| c.is_ascii_digit() || c == ';')
    });
    assert_eq!(coloured.map(|(p, _)| p), None);
    c.press("q");
    assert!(c.end());
}

#[test]
fn an_unreachable_agent_is_told_and_left() {
    let mut c = Console::open(80, 24, &["gone"]);
    c.see("the socket does not exist");
    c.see("It tries again by itself");
    c.press("\u{3}");
    assert!(c.end());
    c.gave_the_terminal_back();
}

#[test]
fn a_term_signal_gives_the_terminal_back() {
    let mut c = Console::open(80, 24, &["lone"]);
    c.see("proxy:cart");
    let pid = c.child.process_id().unwrap();
    let killed = std::process::Command::new("kill").arg("-TERM").arg(pid.to_string()).status().unwrap();
    assert!(killed.success());
    assert!(c.end());
    c.gave_the_terminal_back();
}

#[test]
fn twenty_thousand_events_a_second_do_not_slow_the_keys() {
    let mut c = Console::open(120, 36, &["lone", "flood"]);
    c.see("proxy:cart");
    c.see("event ");
    let mut times = Vec::new();
    for _ in 0..9 {
        let begun = Instant::now();
        c.press("?");
        c.see("type to filter");
        times.push(begun.elapsed());
        c.press("\u{1b}");
        c.until("closed", |s| !s.contains("type to filter"));
    }
    times.sort();
    println!("key to screen under 20,000 events/s: median {:?}, most {:?}", times[4], times[8]);
    // In a build without optimisation, on a loaded machine; what a release build does is measured by hand.
    assert!(times[4] < Duration::from_secs(2), "{times:?}");
    c.press("q");
    assert!(c.end());
}
