//! Sockets: slow, silent, idle, many, reused; and what is not HTTP at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use serde_json::json;

use crate::support::{PATIENCE, Reply, Request, Server, poll_until};

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
    connection.answer(false).expect("an answer").expect_failure(408, "request_timeout");
    assert_eq!(connection.rest().expect("the host closes"), b"");
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
    // All are taken; one more is served all the same, once an idle one has made room.
    server.call("hostile", "echo x").expect(200);
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

/// Sends a request whose body is `size` bytes, all of it before reading anything, and reads the answer.
fn write_all_then_read(server: &Server, request: Request, size: usize) -> Reply {
    let mut connection = server.connect();
    connection.send(&request.header("content-length", size.to_string()).bytes()).expect("the head is sent");
    let piece = vec![b'x'; 1024 * 1024];
    let mut left = size;
    while left > 0 {
        let now = left.min(piece.len());
        connection.send(&piece[..now]).unwrap_or_else(|error| panic!("{left} of {size} bytes left: {error}"));
        left -= now;
    }
    connection.answer(false).expect("an answer")
}

#[test]
fn who_sends_too_much_or_in_vain_gets_the_answer_and_not_a_broken_pipe() {
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    let post = |path: &str| Request::new("POST", path);
    let json = |request: Request| request.header("content-type", "application/json");
    let execute = "/orchestrator/execute";
    for (request, status, code) in [
        (json(server.signed(post(execute))), 413, "body_too_large"),
        (json(post(execute)), 401, "unauthorized"),
        (json(post(execute).key("nobody's")), 401, "unauthorized"),
        (server.signed(post(execute)).header("content-type", "text/plain"), 415, "unsupported_media_type"),
        (json(server.signed(post("/nowhere"))), 404, "not_found"),
        (json(server.signed(post("/orchestrator/agents"))), 405, "method_not_allowed"),
    ] {
        write_all_then_read(&server, request, 24 * 1024 * 1024).expect_failure(status, code);
    }
    // The same in chunks, where nothing announces the size.
    let mut connection = server.connect();
    let request = json(server.signed(post(execute))).header("transfer-encoding", "chunked");
    connection.send(&request.bytes()).expect("sent");
    let mut chunk = b"100000\r\n".to_vec();
    chunk.resize(chunk.len() + 1024 * 1024, b'x');
    chunk.extend(b"\r\n");
    for number in 0..24 {
        connection.send(&chunk).unwrap_or_else(|error| panic!("chunk {number}: {error}"));
    }
    connection.send(b"0\r\n\r\n").expect("sent");
    connection.answer(false).expect("an answer").expect_failure(413, "body_too_large");
    // Who never stops is not read for ever.
    let endless = json(server.signed(post(execute))).header("content-length", "9000000000");
    let mut connection = server.connect();
    connection.send(&endless.bytes()).expect("sent");
    let piece = vec![b'x'; 1024 * 1024];
    poll_until("an endless body is cut off", || connection.send(&piece).is_err().then_some(()));
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
    // Another connection waits, which closes what is idle; this one is not, however long it waits.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            poll_until("it is served", || (server.call("hostile", "echo x").status == 200).then_some(()));
        });
        server.log_lines("another connection waits", |line| line.to_string().contains("max_connections"));
        let answer = slow.answer(false).expect("all of the answer").expect(200);
        assert_eq!(answer["response"].as_str().map(str::len), Some(32_000_000));
        drop(slow);
        waiting.join().expect("an answer");
    });
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

/// What a proxy in front might see as one request, and this host as two, or the other way round. Each is
/// sent with a complete second request behind it or inside it, which must not run.
#[test]
fn no_request_is_smuggled_behind_another() {
    let server = Server::with(
        "[server]\nheader_timeout = \"500ms\"\nidle_timeout = \"500ms\"\nbody_timeout = \"500ms\"\n\
         [agents.first]\ncomponent = \"<echo>\"\n[agents.second]\ncomponent = \"<echo>\"\n",
    );
    let body = json!({ "agent": "first", "query": "x" }).to_string();
    let second = Request::post("/orchestrator/execute", &json!({ "agent": "second", "query": "x" }));
    let second = String::from_utf8(server.signed(second).bytes()).expect("text");
    let start = format!(
        "POST /orchestrator/execute HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        server.key
    );
    let size = body.len();
    let chunked = format!("{size:x}\r\n{body}\r\n0\r\n\r\n");
    let all = chunked.len() + second.len();
    let length = format!("content-length: {size}\r\n");
    let chunks = "transfer-encoding: chunked\r\n";
    let with = |fields: &str, rest: &str| format!("{start}{fields}\r\n{rest}{second}");
    let calls = |agent: &str| server.agent(agent)["calls"].as_u64().expect("a number");
    let cases = [
        // What it is, the bytes, and how often the first agent is called.
        ("length, then chunks", with(&format!("content-length: {all}\r\n{chunks}"), &chunked), 1),
        ("chunks, then length", with(&format!("{chunks}content-length: {all}\r\n"), &chunked), 1),
        ("a short length and chunks", with(&format!("content-length: 4\r\n{chunks}"), &chunked), 1),
        ("chunks that end at once, and a length", with(&format!("{length}{chunks}"), "0\r\n\r\n"), 0),
        ("two lengths", with(&format!("{length}content-length: {}\r\n", size + 1), &body), 0),
        ("a list of lengths", with(&format!("content-length: {size}, {size}\r\n"), &body), 0),
        ("a length with a sign", with(&format!("content-length: +{size}\r\n"), &body), 0),
        ("a length that is none", with(&format!("content-length: {size}x\r\n"), &body), 0),
        ("a length of 20 digits", with("content-length: 99999999999999999999\r\n", &body), 0),
        ("chunks that are not last", with("transfer-encoding: chunked, identity\r\n", &chunked), 0),
        ("an unknown coding", with("transfer-encoding: xchunked\r\n", &chunked), 0),
        ("a field's name with a space", with(&format!("{length}transfer-encoding : chunked\r\n"), &body), 0),
        ("a folded field", with(&format!("{length}transfer-encoding:\r\n chunked\r\n"), &body), 0),
        ("a line that begins with a space", with(&format!("{length} {chunks}"), &body), 0),
        ("a bare return", with(&format!("{length}x: y\r{chunks}"), &body), 0),
        ("a zero in a field", with(&format!("{length}x: y\0\r\n"), &body), 0),
        ("chunks in HTTP/1.0", with(chunks, &chunked).replacen("HTTP/1.1", "HTTP/1.0", 1), 0),
        ("a chunk's size with 0x", with(chunks, &format!("0x{chunked}")), 0),
        ("a chunk's size with a sign", with(chunks, &format!("+{chunked}")), 0),
        ("a chunk's size below zero", with(chunks, &format!("-{chunked}")), 0),
        ("a chunk without a size", with(chunks, &format!("\r\n{chunked}")), 0),
        ("a chunk's size that is too large", with(chunks, &format!("fffffffffffffffff{chunked}")), 0),
        ("a chunk that is longer than it says", with(chunks, &format!("5\r\n{body}\r\n0\r\n\r\n")), 0),
        ("a chunk's size before a bare newline", with(chunks, &format!("{size:x}\n{body}\r\n0\r\n\r\n")), 0),
        (
            "an extension with a bare newline",
            with(chunks, &format!("{size:x};x\ny\r\n{body}\r\n0\r\n\r\n")),
            0,
        ),
        // The second one is the first one's body.
        ("a request in a body", format!("{start}content-length: {}\r\n\r\n{second}", second.len()), 0),
        (
            "a request in a body that nobody reads",
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{second}", second.len()),
            0,
        ),
        ("bare newlines", format!("{start}{length}\r\n{body}").replace("\r\n", "\n"), 1),
    ];
    for (what, bytes, expected) in cases {
        let before = calls("first");
        let mut connection = server.connect();
        // The host may have closed by then.
        let _ = connection.send(bytes.as_bytes());
        let _ = connection.rest();
        assert_eq!(calls("second"), 0, "{what}: the second request ran");
        assert_eq!(calls("first") - before, expected, "{what}");
    }
    // Two requests that are nothing but two requests run both.
    let mut connection = server.connect();
    connection.send(format!("{start}{length}\r\n{body}{second}").as_bytes()).expect("sent");
    for _ in 0..2 {
        connection.answer(false).expect("an answer").expect(200);
    }
    assert_eq!(calls("second"), 1);
}
