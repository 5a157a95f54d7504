//! A client's handshake: reading its ClientHello, asking the faults, and answering as they say.

use super::answers;
use super::below::Below;
use super::gate::{Gate, Latch, Step};
use super::hello::ClientHello;
use super::mint::Subject;
use super::terminator::{Shape, Terminator};
use crate::admission::{admit, attend};
use crate::chain::How;
use crate::conn::{Conn, Open, Take};
use crate::faults::Handshake;
use crate::net::Stream;
use crate::target::Target;
use crate::timers::{Alarm, Timers};
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

/// How long a client has for each of its parts of a handshake; faults that hold it up do not count.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done about the clients' TLS.
pub(crate) enum Downstream {
    /// It ends here.
    Terminate(Box<Terminator>),
    /// Its bytes go on.
    PassThrough,
}

/// What the faults make of a handshake.
#[derive(Default)]
struct Verdict {
    /// What is said in place of a handshake.
    answer: Option<Vec<u8>>,
    shape: Shape,
    stall: Option<(Step, Arc<Take>)>,
}

/// Shakes hands as the faults allow it; none when the connection was ended.
pub(crate) async fn greet(target: &Target, tls: &Downstream, open: &Open, socket: Stream) -> Option<Stream> {
    let conn = open.share();
    let timers = target.timers();
    let ours = socket.local_address().map(|a| a.ip().to_canonical());
    let mut below = Below::new(socket, conn.clone());
    if let Err(how) = admit(&conn, timers).await {
        below.end(how);
        return None;
    }
    let hello = attend(&conn, timers, tokio::time::timeout(PATIENCE, below.hello())).await;
    let hello = match hello {
        Ok(Ok(Ok(hello))) => hello,
        // The client is gone, or said nothing; or the connection was ended, which `below` sees to.
        _ => return None,
    };
    conn.learn(hello.as_ref().and_then(|h| h.sni.clone()));
    target.learned(open);
    if let Err(how) = admit(&conn, timers).await {
        below.end(how);
        return None;
    }
    let Some(hello) = hello else { return not_tls(tls, below).await };
    let verdict = judge(&conn, &hello);
    if let Some((_, take)) = verdict.stall.as_ref().filter(|(step, _)| *step == Step::ClientHello) {
        let begun = Instant::now();
        attend(&conn, timers, stalled(take, timers)).await.ok()?;
        take.fault.meters.add_late(begun.elapsed());
    }
    if let Some(answer) = verdict.answer {
        say(below, &answer).await;
        return None;
    }
    if let Some((step, take)) = verdict.stall.filter(|(step, _)| *step != Step::ClientHello) {
        let ours = matches!(tls, Downstream::Terminate(_));
        below.stop_at(gate(step, take, ours, timers));
    }
    match tls {
        Downstream::PassThrough => Some(Stream::Peeked(Box::new(below))),
        Downstream::Terminate(terminator) => {
            let subject = subject(&hello, ours);
            terminate(terminator, subject, verdict.shape, &conn, timers, below).await
        }
    }
}

async fn terminate(
    terminator: &Terminator,
    subject: Subject,
    shape: Shape,
    conn: &Arc<Conn>,
    timers: &Timers,
    below: Below,
) -> Option<Stream> {
    let config = match terminator.config(subject, shape) {
        Ok(config) => config,
        Err(_) => {
            // No certificate can be made for what the client asked for.
            say(below, &answers::alert(112, 0x0303)).await;
            return None;
        }
    };
    let waits = shape.small_records;
    let shaken = async {
        let handshake = TlsAcceptor::from(config).accept(below).into_fallible();
        if waits {
            return Some(handshake.await);
        }
        tokio::time::timeout(PATIENCE, handshake).await.ok()
    };
    match attend(conn, timers, shaken).await.ok()?? {
        Ok(stream) => Some(Stream::Tls(Box::new(stream.into()))),
        Err((_, below)) => {
            // An alert told the client what went wrong; a reset must not overtake it.
            below.end(How::Fin);
            None
        }
    }
}

/// A client that does not speak TLS: the service may know what to do with it, and rustls says what an end does.
async fn not_tls(tls: &Downstream, below: Below) -> Option<Stream> {
    match tls {
        Downstream::PassThrough => Some(Stream::Peeked(Box::new(below))),
        Downstream::Terminate(_) => {
            say(below, &answers::alert(10, 0x0301)).await;
            None
        }
    }
}

/// Says something and ends in order.
async fn say(mut below: Below, answer: &[u8]) {
    let Some(mut socket) = below.take_socket() else { return };
    // A client that does not take a few bytes within the time does not read at all.
    let _ = tokio::time::timeout(PATIENCE, socket.write_all(answer)).await;
    socket.end(How::Fin);
}

fn subject(hello: &ClientHello, ours: Option<IpAddr>) -> Subject {
    match (&hello.sni, ours) {
        (Some(name), _) => Subject::Name(name.clone()),
        (None, Some(ip)) => Subject::Address(ip),
        (None, None) => Subject::Nobody,
    }
}

/// Asks the faults that have the connection, in the order in which they act. The first that answers has the last word.
fn judge(conn: &Conn, hello: &ClientHello) -> Verdict {
    let mut verdict = Verdict::default();
    let now = Instant::now();
    for take in conn.takes() {
        let Some(act) = take.fault.handshake() else { continue };
        if verdict.answer.is_some() || !take.active(now).0 {
            continue;
        }
        match act {
            Handshake::PlainText => verdict.answer = Some(answers::PLAIN_TEXT.to_vec()),
            Handshake::Alert(number) => verdict.answer = Some(answers::alert(number, 0x0303)),
            Handshake::Unoffered => verdict.answer = Some(answers::unoffered_suite(hello)),
            Handshake::OldVersion(version) => verdict.answer = Some(answers::old_server(version, hello)),
            Handshake::Only(version) => verdict.shape.only = Some(version),
            Handshake::Certificate(flaw) => verdict.shape.flaw = Some(flaw),
            Handshake::Clients(accept) => verdict.shape.clients = Some(accept),
            Handshake::Stall { step, .. } => {
                verdict.shape.small_records = step != Step::ClientHello;
                verdict.stall = Some((step, take.clone()));
            }
        }
        take.apply();
    }
    verdict
}

/// A gate, and the task that opens it when the stall is over.
fn gate(step: Step, take: Arc<Take>, ours: bool, timers: &Timers) -> Gate {
    let latch = Arc::new(Latch::default());
    let (opens, timers) = (latch.clone(), timers.clone());
    let keeper = tokio::spawn(async move {
        let begun = Instant::now();
        stalled(&take, &timers).await;
        take.fault.meters.add_late(begun.elapsed());
        opens.open();
    });
    Gate::new(latch, step, ours, Some(keeper.abort_handle()))
}

/// Waits until the fault no longer stalls the connection.
async fn stalled(take: &Take, timers: &Timers) {
    let begun = Instant::now();
    let mut alarm = Alarm::new(timers.clone());
    loop {
        let mut changed = std::pin::pin!(take.fault.changed());
        changed.as_mut().enable();
        let now = Instant::now();
        let (on, turn) = take.active(now);
        let Some(Handshake::Stall { delay, .. }) = take.fault.handshake().filter(|_| on) else { return };
        let end = delay.and_then(|delay| begun.checked_add(delay));
        if end.is_some_and(|end| end <= now) {
            return;
        }
        match crate::chain::earlier(end, turn) {
            None => changed.await,
            Some(at) => tokio::select! {
                () = changed => {}
                () = poll_fn(|cx| alarm.poll(at, cx)) => {}
            },
        }
    }
}
