//! Services that are slow to accept, never answer a dial, end one direction only, or read nothing: what their clients get.

use crate::bench::{Bench, drain, soon, until};
use model::ConnectionState;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A service whose queue of connections has room for that many and one more.
fn listening(backlog: i32) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(backlog).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn accepting(socket: Socket) -> TcpListener {
    TcpListener::from_std(socket.into()).unwrap()
}

async fn bench(upstream: SocketAddr, protocol: &str, connect_timeout: &str) -> Bench {
    Bench::with(json!({
        "listen": "127.0.0.1:0", "upstream": upstream.to_string(), "protocol": protocol,
        "connect_timeout": connect_timeout,
    }))
    .await
}

fn states(bench: &Bench) -> Vec<ConnectionState> {
    bench.proxy.connections().iter().map(|c| c.state).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_nobody_answers_is_given_up_in_time() {
    let (_stuck, address) = listening(0);
    let _first = TcpStream::connect(address).await.unwrap();
    let bench = bench(address, "tcp", "500ms").await;
    let begun = Instant::now();
    let mut client = bench.connect().await;
    assert_eq!(drain(&mut client).await, (vec![], Some(ErrorKind::ConnectionReset)));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    until("it is counted", || async { bench.totals().errors == 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_a_service_that_never_answers_is_a_502_that_says_so() {
    let (_stuck, address) = listening(0);
    let _first = TcpStream::connect(address).await.unwrap();
    let bench = bench(address, "http", "500ms").await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(drain(&mut client).await.0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("no answer within 500ms"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_makes_room_in_time_gets_the_connection_and_its_bytes() {
    let (stuck, address) = listening(0);
    let _first = TcpStream::connect(address).await.unwrap();
    let bench = bench(address, "tcp", "1m").await;
    let mut client = bench.connect().await;
    client.write_all(b"patience").await.unwrap();
    until("it is being dialled", || async { states(&bench) == [ConnectionState::Dialling] }).await;
    let service = accepting(stuck);
    soon(service.accept()).await.unwrap();
    let (mut served, _) = soon(service.accept()).await.unwrap();
    let mut got = [0; 8];
    soon(served.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"patience");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_slow_to_accept_finds_everything_and_so_does_its_client() {
    let (slow, address) = listening(16);
    let bench = Bench::tcp(address).await;
    let mut client = bench.connect().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    // The kernel has taken all of it, though the service has not even looked.
    until("it has passed", || async { bench.totals().bytes_up == 8 }).await;
    until("its end, too", || async { states(&bench) == [ConnectionState::HalfClosed] }).await;
    let (mut served, _) = soon(accepting(slow).accept()).await.unwrap();
    assert_eq!(drain(&mut served).await, (b"question".to_vec(), None));
    served.write_all(b"answer").await.unwrap();
    drop(served);
    assert_eq!(drain(&mut client).await, (b"answer".to_vec(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_ends_its_direction_goes_on_hearing_the_client() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = Bench::tcp(service.local_addr().unwrap()).await;
    let mut client = bench.connect().await;
    let (mut served, _) = soon(service.accept()).await.unwrap();
    served.write_all(b"that is all").await.unwrap();
    served.shutdown().await.unwrap();
    assert_eq!(drain(&mut client).await, (b"that is all".to_vec(), None));
    for word in [*b"and ", *b"more"] {
        client.write_all(&word).await.unwrap();
        let mut got = [0; 4];
        soon(served.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, word);
    }
    assert_eq!(states(&bench), [ConnectionState::HalfClosed]);
    drop(client);
    assert_eq!(drain(&mut served).await, (vec![], None));
    until("it is over", || async { bench.totals().open == 0 }).await;
    assert_eq!(bench.totals().errors, 0);
}
