//! The console on real traffic, driven by a real terminal: arm from the form, see it in the plot, halt from a text field.

use crate::ground::{Nginx, TempDir, Terminal, free_port, get_on};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Someone who asks again and again until this is dropped.
struct Asking(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Asking {
    fn start(port: u16) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut stream = None;
            while !told.load(Ordering::Relaxed) {
                let asked = stream.take().or_else(|| TcpStream::connect(("127.0.0.1", port)).ok());
                if let Some(mut open) = asked
                    && get_on(&mut open, "/").is_ok()
                {
                    stream = Some(open);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Asking(stop, Some(thread))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

/// The number after `p99` on the screen.
fn p99(screen: &str) -> Option<f64> {
    screen.split("p99 ").nth(1)?.split_whitespace().next()?.parse().ok()
}

#[test]
fn arm_see_halt_and_see_it_come_back() {
    let Some(nginx) = Nginx::start() else { return };
    let (dir, port) = (TempDir::new(), free_port());
    let proxy = format!("web=127.0.0.1:{port},127.0.0.1:{},http", nginx.port);
    let mut console = Terminal::open(dir.path(), 120, 36, &["tui", "--proxy", &proxy]);
    console.see("proxy:web");
    let _asking = Asking::start(port);
    console.until("a p99", |s| p99(s).is_some_and(|v| v < 100.0));

    // From the form.
    console.press("a");
    console.see("Catalogue");
    console.press("/latency");
    console.see("Arm: latency");
    console.press("\r");
    console.until("the filter is taken", |s| s.contains("Arm: latency") && !s.contains("› delay"));
    console.press("\r");
    console.see("› delay");
    console.press("\u{15}150ms");
    console.see("delay=150ms");
    console.press("\r");
    // All of the traffic is more than a little: the console asks for the target's name.
    console.see("type");
    console.press("web\r");
    console.see("Armed 1");
    console.press("1");
    console.until("the p99 rises", |s| p99(s).is_some_and(|v| v > 140.0));

    console.resize(60, 15);
    console.until("60 columns", |s| s.lines().all(|l| l.chars().count() <= 60) && s.contains("^X HALT"));
    console.resize(120, 36);
    console.see("HALT ALL");

    // In a text field of the form.
    console.press("2");
    console.see("Catalogue /latency");
    console.press("\r");
    console.see("› delay");
    console.press("12\u{18}");
    console.see("HALTED by");
    console.see("Nothing can be armed until the halt is lifted");
    console.press("\u{1b}");
    console.press("1");
    console.until("the p99 comes back", |s| p99(s).is_some_and(|v| v < 100.0));
    console.press("r");
    console.see("type lift to lift it");
    console.press("lift\r");
    console.see("the halt is lifted");
    console.press("q");
    assert_eq!(console.end(), 0);
}

#[test]
fn the_demo_opens_on_its_console() {
    let dir = TempDir::new();
    let mut console = Terminal::open(dir.path(), 80, 24, &["demo", "--for", "20s"]);
    console.see("demo");
    console.see("proxy:payments");
    console.until("traffic", |s| p99(s).is_some());
    console.press("q");
    // Leaving while something is armed asks; nothing is armed in the baseline.
    console.until("an end or a question", |s| s.contains("ABORTED") || s.contains("leave"));
    if console.screen().contains("halt and leave") {
        console.press("h");
    }
    assert_eq!(console.end(), 4, "{}", console.screen());
}
