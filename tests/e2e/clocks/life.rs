//! What changed clocks do over time: strobes, jumps, ramps, forks, threads, many changes under load, and what they do not.

use super::tellers::{self, Program, Reading, Teller, skew_ms, vdso};
use crate::ground::{Agent, eventually, is_root, median, need};
use crate::machine::rig::Group;
use std::time::{Duration, Instant};

fn ready() -> Option<(Agent, Program)> {
    if !need("root, to change other programs' clocks", is_root()) {
        return None;
    }
    Some((Agent::start(&[]), tellers::c(false)?))
}

fn arm(agent: &Agent, teller: &dyn Teller, words: &str) -> String {
    agent.arm(&format!("process:{} clock {words}", teller.pid()))
}

fn near(a: i64, b: i64, ms: i64) -> bool {
    (a - b).abs() < ms * 1_000_000
}

#[test]
fn every_call_threads_and_children_see_it_and_children_are_put_right() {
    let Some((agent, mut c)) = ready() else { return };
    let before = vdso(c.pid());
    let child = u32::try_from(c.ask("k")[0]).unwrap();
    let id = arm(&agent, &c, "offset=-2h");
    let back = 7_200_000_000_000;
    for letter in ["t", "w", "f"] {
        let seen = c.ask(letter);
        let now = tellers::now();
        assert!(near(seen[0], now - back, 2_000) && near(seen[1], now - back, 2_000), "{letter}: {seen:?}");
        assert!(near(seen[2], now - back, 3_000) && near(seen[3], now - back, 2_000), "{letter}: {seen:?}");
    }
    // A child of before has its own clock.
    assert!(near(c.ask("c")[0], tellers::now(), 2_000));
    assert!(vdso(child) == before);
    // One of afterwards has inherited it, and gets the right time back although nobody was told of it.
    let child = u32::try_from(c.ask("k")[0]).unwrap();
    assert!(near(c.ask("c")[0], tellers::now() - back, 2_000));
    // Its lease is renewed too, and what it sees changes with what it was forked from.
    agent.disarm(&id);
    assert!(near(c.ask("c")[0], tellers::now(), 2_000));
    assert!(vdso(child) == before && vdso(c.pid()) == before);
}

#[test]
fn a_strobe_comes_and_goes_and_a_ramp_moves() {
    let Some((agent, mut c)) = ready() else { return };
    let id = arm(&agent, &c, "offset=-1h strobe=200ms");
    let (mut right, mut wrong, mut turns, mut last) = (0, 0, 0, None);
    let until = Instant::now() + Duration::from_secs(30);
    while turns < 12 && Instant::now() < until {
        let ms = Reading::of(&mut c).ms();
        let off = (ms + 3_600_000.0).abs() < 1_000.0;
        assert!(off || ms.abs() < 1_000.0, "{ms} ms");
        if off {
            wrong += 1
        } else {
            right += 1
        }
        turns += i32::from(last.replace(off).is_some_and(|was| was != off));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(turns >= 12 && right > 10 && wrong > 10, "{turns} turns, {right} right, {wrong} wrong");
    agent.disarm(&id);
}

#[test]
fn what_is_on_is_changed_and_nobody_stands_still_for_it() {
    let Some((agent, mut c)) = ready() else { return };
    let before = vdso(c.pid());
    let id = arm(&agent, &c, "offset=5s");
    assert!((skew_ms(&mut c) - 5_000.0).abs() < 20.0);
    let changed = vdso(c.pid());
    let number = |name: &str| {
        let all = agent.ask(async |client| client.faults().await).unwrap();
        all[0].evidence.measured[name]
    };
    let stood = number("stop_us");
    let adjust = |inject: serde_json::Value| {
        let change = serde_json::from_value(serde_json::json!({"inject": inject})).unwrap();
        agent.ask(async |client| client.adjust(&id, &change).await)
    };
    for (offset, ms) in [("-1h", -3_600_000.0), ("90s", 90_000.0), ("5s", 5_000.0)] {
        adjust(serde_json::json!({"offset": offset})).unwrap();
        let seen = skew_ms(&mut c);
        assert!((seen - ms).abs() < 20.0, "{offset}: {seen} ms");
        assert!((number("skew_ms") - ms).abs() < 20.0, "{offset}: {} ms", number("skew_ms"));
    }
    // The numbers changed, and none of the code.
    assert_eq!(number("stop_us"), stood);
    let differ = vdso(c.pid()).iter().zip(&changed).filter(|(a, b)| a != b).count();
    assert!(differ < 256, "{differ} bytes");
    // From now on it runs faster.
    adjust(serde_json::json!({"offset": "5s", "drift": "50%"})).unwrap();
    let first = skew_ms(&mut c);
    assert!(eventually(Duration::from_secs(20), || skew_ms(&mut c) > first + 300.0), "it does not drift");
    // What would freeze sleepers is refused live as well, and what was on stays.
    let refused = adjust(serde_json::json!({"clocks": "monotonic", "offset": "1h"}));
    assert!(refused.is_err() && skew_ms(&mut c) > 5_000.0, "{refused:?}");
    agent.disarm(&id);
    assert!(skew_ms(&mut c).abs() < 20.0 && vdso(c.pid()) == before);
}

#[test]
fn all_members_of_a_group_have_it_and_what_they_fork_and_nobody_else() {
    let Some((agent, mut c)) = ready() else { return };
    let (Some(mut other), Some(group)) = (tellers::c(false), Group::make(&[])) else { return };
    let before = vdso(c.pid());
    // A child of before is a member of its own right.
    let child = u32::try_from(c.ask("k")[0]).unwrap();
    for pid in [c.pid(), child] {
        group.take(pid);
    }
    let back = 7_200_000_000_000;
    let id = agent.arm(&format!("{} clock offset=-2h", group.target()));
    // In a thread, in the child of before, in one that is forked now.
    for letter in ["t", "w", "c", "f"] {
        assert!(near(c.ask(letter)[0], tellers::now() - back, 2_000), "{letter}");
    }
    let born = u32::try_from(c.ask("k")[0]).unwrap();
    assert!(near(c.ask("c")[0], tellers::now() - back, 2_000));
    assert!(near(other.ask("t")[0], tellers::now(), 2_000), "who is not a member has it");
    let all = agent.ask(async |client| client.faults().await).unwrap();
    assert!(all[0].evidence.measured["processes_changed"] >= 2.0, "{:?}", all[0].evidence);
    agent.disarm(&id);
    for pid in [c.pid(), child, born, other.pid()] {
        assert!(vdso(pid) == before, "{pid}: another vDSO than before");
    }
    for letter in ["t", "c", "f"] {
        assert!(near(c.ask(letter)[0], tellers::now(), 2_000), "{letter}");
    }
}

#[test]
fn what_it_does_not_change_is_said() {
    let Some((agent, mut c)) = ready() else { return };
    let refused = |words: &str, target: u32| {
        let mut line = vec!["arm".to_owned(), format!("process:{target}"), "clock".into()];
        line.extend(words.split(' ').map(str::to_owned));
        line.extend(["--for".into(), "60s".into()]);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let out = agent.murphy(&line);
        assert_ne!(out.code, 0, "{words}: {out:?}");
        out.err
    };
    // Waits on the monotonic clock would last as much too long.
    let text = refused("offset=1h clocks=monotonic", c.pid());
    assert!(text.contains("every sleep that begins meanwhile") && text.contains("murphy exec"), "{text}");
    let text = refused("clocks=realtime", c.pid());
    assert!(text.contains("the right time"), "{text}");
    // A second one on the same process.
    let id = arm(&agent, &c, "offset=1s");
    let text = refused("offset=2s", c.pid());
    assert!(text.contains("changed already") || text.contains("already"), "{text}");
    agent.disarm(&id);
    // Its own system calls tell the truth, and nothing hides that.
    let id = arm(&agent, &c, "offset=1h");
    assert!(near(c.ask("r")[0], tellers::now(), 2_000));
    // A wait until a moment of the wall clock ends by the kernel's clock: 0.3 s and an hour.
    agent.disarm(&id);
    let id = arm(&agent, &c, "offset=-1h");
    let waited = c.ask("s")[0];
    assert!(waited < 250_000_000, "a wait for a moment that is past for the kernel took {waited} ns");
    agent.disarm(&id);
    // A program that cannot know of the vDSO.
    let Some(mut raw) = tellers::raw() else { return };
    let out = agent.murphy(&[
        "arm",
        &format!("process:{}", raw.pid()),
        "clock",
        "offset=1h",
        "--for",
        "60s",
        "--dry-run",
    ]);
    assert!(format!("{}{}", out.out, out.err).contains("system calls"), "{out:?}");
    assert!(near(raw.ask("t")[0], tellers::now(), 2_000));
}

#[test]
fn changing_it_again_and_again_under_load_harms_nobody() {
    cycles(20, "h");
}

/// `cargo test --test e2e clocks -- --ignored`
#[test]
#[ignore = "long: 200 changes"]
fn changing_it_200_times_under_load_harms_nobody() {
    cycles(200, "h");
}

/// Far more threads than processors, and at any moment one of them stands where the clock is changed.
#[test]
fn threads_that_do_nothing_but_read_are_led_out_of_the_way() {
    let rounds = std::env::var("MURPHY_CLOCK_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    cycles(rounds, "y");
}

fn cycles(rounds: usize, readers: &str) {
    let Some((agent, mut c)) = ready() else { return };
    let before = vdso(c.pid());
    let threads = c.ask(readers)[0] + 1;
    let mut stood = Vec::new();
    for round in 0..rounds {
        let words = ["offset=5s", "offset=-5s drift=-20%", "offset=1h strobe=10ms"][round % 3];
        let id = arm(&agent, &c, words);
        let armed = agent.ask(async |client| client.faults().await).unwrap();
        let fault = armed.iter().find(|f| f.id == id).unwrap();
        stood.extend(fault.evidence.measured.get("stop_us").copied());
        agent.disarm(&id);
        assert!(vdso(c.pid()) == before, "round {round}: another vDSO than before");
        assert!(c.lives(), "round {round}");
    }
    let reads = c.ask("n");
    assert!(eventually(Duration::from_secs(20), || c.ask("n")[0] > reads[0]), "its threads stand still");
    let seen = c.ask("n");
    assert_eq!(seen[1], 0, "bad readings of {}", seen[0]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(status.contains("TracerPid:\t0"), "{status}");
    let worst = stood.iter().copied().fold(0.0, f64::max);
    eprintln!(
        "{rounds} rounds, {threads} threads: stood {:.0} us (median), {worst:.0} us (most)",
        median(stood)
    );
}

#[test]
fn a_program_is_started_with_other_clocks_and_sleeps_right() {
    let there = std::path::Path::new("/proc/self/timens_offsets").exists();
    if !need("root and time namespaces", is_root() && there) {
        return;
    }
    let dir = crate::ground::TempDir::new();
    let exec = |words: &[&str]| crate::ground::murphy(dir.path(), words);
    let script = "cut -d. -f1 /proc/uptime; sleep 0.3; exit 7";
    let begin = Instant::now();
    let out = exec(&["exec", "--clock", "100d", "--", "sh", "-c", script]);
    let took = begin.elapsed();
    assert_eq!(out.code, 7, "{out:?}");
    let up = |text: &str| text.trim().split('.').next().unwrap().parse::<u64>().unwrap();
    let ours = up(&std::fs::read_to_string("/proc/uptime").unwrap());
    let ahead = up(&out.out) as i64 - ours as i64;
    assert!((ahead - 8_640_000).abs() < 60, "{ahead} s ahead of {ours}");
    assert!(took > Duration::from_millis(290) && took < Duration::from_secs(30), "{took:?}");
    let out = exec(&["exec", "--clock", "realtime=1h", "--", "true"]);
    assert!(out.code == 2 && out.err.contains("murphy arm process:PID"), "{out:?}");
    let out = exec(&["exec", "--clock", "-30000d", "--", "true"]);
    assert!(out.code == 5 && out.err.contains("must not become negative"), "{out:?}");
}
