//! Sockets: slow, silent, idle, many, reused; and what is not HTTP at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{PATIENCE, Request, Server, poll_until};

const SHORT: &str = "[server]\nheader_timeout = \"200ms\"\nidle_timeout = \"300ms\"\nbody_timeout = \"200ms\"\n\
    [agents.hostile]\ncomponent = \"<hostile>\"\n";

#[test]
fn a_connection_carries_many_requests_also_at_once() {
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    let mut connection = server.connect();
    for number in 0..100 {
        let path = if number % 3 == 0 { "/nowhere" } else { "/orchestrator/agents" };
        let reply = connection.ask(&server.signed(Request::get(path)));
        assert_eq!(reply.status, if number % 3 == 0 { 404 } else { 200 });
    }
    let mut together = Vec::new();
    for words in ["first", "second", "third"] {
        let request = Request::post("/orchestrator/execute", &json!({ "agent": "echo", "query": words }));
        together.extend(server.signed(request).bytes());
    }
    connection.send(&together).expect("sent");
    for words in ["first", "second", "third"] {
        let answer = connection.answer(false).expect("an answer").expect(200);
        assert!(answer["response"].as_str().is_some_and(|text| text.contains(words)), "{answer}");
    }
    let last = connection.ask(&Request::get("/healthz").header("connection", "close"));
    assert_eq!(last.status, 200);
    assert_eq!(connection.rest().expect("the host closes"), b"");
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let server = Server::with(SHORT);
    for start in [&b""[..], b"G", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let mut connection = server.connect();
        connection.send(start).expect("sent");
        // An error is an end, too: what matters is that it comes.
        let _ = connection.rest();
    }
    // More bytes buy no more time.
    let mut dripping = TcpStream::connect(server.address).expect("a connection");
    dripping.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ").expect("sent");
    poll_until("a dripping head is cut off", || dripping.write_all(b"x").is_err().then_some(()));
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_answered_in_json() {
    let server = Server::with(SHORT);
    let mut connection = server.connect();
    let request = server.signed(Request::new("POST", "/orchestrator/route")).header("content-length", "100");
    connection.send(&request.header("content-type", "application/json").bytes()).expect("sent");
    connection.send(b"{\"task\"").expect("sent");
    connection.answer(false).expect("an answer").expect_failure(400, "malformed_json");
    // One that ends early is answered where anybody still listens.
    let mut connection = server.connect();
    let request = server.signed(Request::new("POST", "/orchestrator/route")).header("content-length", "100");
    connection.send(&request.header("content-type", "application/json").bytes()).expect("sent");
    connection.finish().expect("the sending side ends");
    let _ = connection.rest();
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let server = Server::with(SHORT);
    let mut idle = server.connect();
    assert_eq!(idle.ask(&Request::get("/healthz")).status, 200);
    let busy = Request::post("/orchestrator/execute", &json!({ "agent": "hostile", "query": "sleep 1500" }));
    let mut connection = server.connect();
    let answer = connection.ask(&server.signed(busy)).expect(200);
    assert_eq!(answer["success"], true);
    assert_eq!(idle.rest().expect("the host closes"), b"");
    assert_eq!(connection.rest().expect("the host closes"), b"");
}

#[test]
fn connections_beyond_the_bound_wait_and_idle_ones_make_room() {
    let server = Server::with("[server]\nmax_connections = 3\n[agents.hostile]\ncomponent = \"<hostile>\"\n");
    let mut idle: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = server.connect();
            assert_eq!(connection.ask(&Request::get("/healthz")).status, 200);
            connection
        })
        .collect();
    // All are taken; one more is answered all the same, once an idle one has made room.
    assert_eq!(server.get("/healthz").status, 200);
    for connection in &mut idle {
        let _ = connection.rest();
    }
    // While every connection works, others wait for their turn.
    thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| server.call("hostile", "sleep 100").expect(200));
        }
    });
}

#[test]
fn an_answer_that_is_half_written_is_not_cut_off_for_another_connection() {
    let server = Server::with(
        "[server]\nmax_connections = 1\n[agents.hostile]\ncomponent = \"<hostile>\"\n\
         limits = { memory = \"256 MiB\", output = \"64 MiB\" }\n",
    );
    let large = Request::post(
        "/orchestrator/execute",
        &json!({ "agent": "hostile", "query": "huge-output 32000000" }),
    );
    let mut slow = server.connect();
    slow.send(&server.signed(large).bytes()).expect("sent");
    slow.arrives().expect("the answer begins");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/healthz").status);
        server.log_lines("another connection waits", |line| line.to_string().contains("max_connections"));
        // A reader that rests for longer than an idle connection is left alone.
        thread::sleep(Duration::from_secs(2));
        let answer = slow.answer(false).expect("all of the answer").expect(200);
        assert_eq!(answer["response"].as_str().map(str::len), Some(32_000_000));
        waiting.join().expect("an answer")
    });
    assert_eq!(waiting, 200);
}

#[test]
fn what_is_not_http_gets_no_html_and_does_no_harm() {
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(garbage).expect("sent");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(!answer.contains("<html") && !answer.contains(" 500 "), "{answer}");
    }
    assert_eq!(server.get("/healthz").status, 200);
}
