//! What one client may hold of the host: connections, requests, bodies and answers. Whoever takes all
//! that is there for one finds that others, and health checks, are still answered.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::fleet::{key, plain};
use crate::support::server::Start;
use crate::support::{Connection, Fleet, Reply, Request, Server, poll_until};

const GREEDY: &str = "key-of-the-greedy-0123456789abcdef012";
const POLITE: &str = "key-of-the-polite-0123456789abcdef012";
const HEALTH: [&str; 5] = ["/healthz", "/readyz", "/health", "/liveness", "/readiness"];

fn keys() -> String {
    key("greedy", GREEDY, "scope = \"*\"\n") + &key("polite", POLITE, "scope = \"*\"\n")
}

/// A host with these settings of `[server]`; the greedy key is what [`Server::ask`] sends.
fn serve(settings: &str) -> Server {
    serve_patiently("500ms", settings)
}

/// The same, where a batch waits for this long.
fn serve_patiently(queue_timeout: &str, settings: &str) -> Server {
    Start::settings(&format!(
        "[server]\n{settings}\n[scheduler]\nqueue_timeout = \"{queue_timeout}\"\n{}\
         [agents.hostile]\ncomponent = \"<hostile>\"\n\
         limits = {{ memory = \"256 MiB\", output = \"64 MiB\", timeout = \"1h\" }}\n",
        keys()
    ))
    .key(GREEDY)
    .serve()
}

fn execute(key: &str, query: &str) -> Request {
    Request::post("/orchestrator/execute", &json!({ "agent": "hostile", "query": query })).key(key)
}

/// Sends a request and leaves its answer where it is.
fn begin(server: &Server, request: &Request) -> Connection {
    let mut connection = server.connect();
    connection.send(&request.bytes()).expect("sent");
    connection
}

/// Begins a request whose body does not come.
fn begin_body(server: &Server, key: &str) -> Connection {
    let request = Request::new("POST", "/orchestrator/execute")
        .key(key)
        .header("content-type", "application/json")
        .header("content-length", "100");
    let mut connection = begin(server, &request);
    connection.send(b"{").expect("sent");
    connection
}

/// Connects from another address of this machine.
fn connect_from(address: &str, to: SocketAddr) -> Connection {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(address.parse().expect("an address"), 0)).expect("bound");
        socket.connect(to).await.expect("connected").into_std().expect("a stream")
    });
    Connection::of(stream)
}

fn calls(server: &Server) -> Value {
    let page = server.ask_plainly(Request::get("/orchestrator/agents/hostile").key(POLITE)).expect(200);
    page["calls"].clone()
}

#[track_caller]
fn overloaded(reply: &Reply, word: &str) {
    let body = reply.expect_failure(503, "overloaded");
    assert!(body["message"].as_str().is_some_and(|text| text.contains(word)), "no `{word}` in {body}");
    assert!(reply.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{reply:?}");
}

fn is_healthy(server: &Server) {
    for path in HEALTH {
        assert_eq!(server.ask_plainly(Request::get(path)).status, 200, "{path}");
    }
}

#[test]
fn who_holds_every_connection_leaves_health_and_other_addresses_theirs() {
    let server = serve("max_connections = 6");
    // All but one are one address's at most.
    let held: Vec<_> = (0..5).map(|_| begin(&server, &execute(GREEDY, "sleep 3000000"))).collect();
    let other = || connect_from("127.0.0.2", server.address);
    let load = |connection: &mut Connection| {
        let page = connection.ask(&Request::get("/orchestrator/agents/hostile").key(POLITE));
        page.expect(200)["running"].clone()
    };
    let mut polite = other();
    poll_until("five calls run", || (load(&mut polite) == 5).then_some(()));
    overloaded(&server.connect().ask(&execute(POLITE, "echo x")), "address_connections");
    is_healthy(&server);
    assert_eq!(polite.ask(&execute(POLITE, "echo x")).expect(200)["response"], "x");
    // With that one taken, too, there is still an answer on whether the host lives.
    polite.send(&execute(POLITE, "sleep 3000000").bytes()).expect("sent");
    poll_until("nothing is left", || {
        let reply = other().ask(&execute(POLITE, "echo x"));
        (reply.status == 503).then(|| overloaded(&reply, "max_connections"))
    });
    is_healthy(&server);
    drop(held);
    poll_until("others are served again", || {
        (server.connect().ask(&execute(GREEDY, "echo x")).status == 200).then_some(())
    });
}

#[test]
fn heads_that_do_not_end_leave_others_theirs() {
    let server = serve("max_connections = 6\nheader_timeout = \"1h\"");
    // Far more than there is room for: some of them are not even taken.
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut connection = server.connect();
            let _ = connection.send(b"GET /healthz HTTP/1.1\r\nx-slow: ");
            connection
        })
        .collect();
    let mut polite = connect_from("127.0.0.2", server.address);
    assert_eq!(polite.ask(&execute(POLITE, "echo x")).expect(200)["response"], "x");
    poll_until("health is answered", || {
        let reply = server.connect().try_ask(&Request::get("/healthz"));
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    });
    drop(slow);
}

#[test]
fn slow_bodies_of_a_key_are_bounded() {
    let server = serve("key_bodies = 3\nbody_timeout = \"1h\"");
    let mut slow: Vec<_> = (0..3).map(|_| begin_body(&server, GREEDY)).collect();
    let refused = poll_until("one more is too many", || {
        let mut more = begin_body(&server, GREEDY);
        // One that is read is not answered.
        match more.try_answer_within(std::time::Duration::from_secs(3)) {
            Some(reply) => Some(reply),
            None => {
                slow.push(more);
                assert!(slow.len() < 10, "there is no bound");
                None
            }
        }
    });
    overloaded(&refused, "key_bodies");
    // A body that comes at once does not wait, and neither does another key's slow one.
    server.ask_plainly(execute(GREEDY, "echo x")).expect(200);
    let mut others = begin_body(&server, POLITE);
    let rest = json!({ "agent": "hostile", "query": "echo late" }).to_string();
    let rest = format!("{:99}", &rest[1..]);
    others.send(rest.as_bytes()).expect("sent");
    assert_eq!(others.answer(false).expect("an answer").expect(200)["response"], "late");
    // Those that were read may come to their end. Which ones were is the machine's affair.
    let is_read = |body: &mut Connection| body.try_answer_within(std::time::Duration::from_secs(1)).is_none();
    let first = slow.iter_mut().find_map(|body| is_read(body).then_some(body));
    let first = first.expect("some are read");
    first.send(rest.as_bytes()).expect("sent");
    assert_eq!(first.answer(false).expect("an answer").expect(200)["response"], "late");
}

#[test]
fn requests_of_a_key_are_bounded() {
    let server = serve("key_requests = 2");
    let held: Vec<_> = (0..2).map(|_| begin(&server, &execute(GREEDY, "sleep 3000000"))).collect();
    poll_until("both run", || (calls(&server) == 2).then_some(()));
    overloaded(&server.ask_plainly(execute(GREEDY, "echo x")), "key_requests");
    assert_eq!(calls(&server), 2, "nothing ran for it");
    server.ask_plainly(execute(POLITE, "echo x")).expect(200);
    drop(held);
    poll_until("there is room again", || {
        (server.ask_plainly(execute(GREEDY, "echo x")).status == 200).then_some(())
    });
}

#[test]
fn answers_that_nobody_reads_are_bounded_for_a_key_and_for_all() {
    let server = serve("max_answers = \"96 MiB\"\nkey_answers = \"48 MiB\"");
    let large = |key: &str| {
        let mut connection = begin(&server, &execute(key, "huge-output 48000000"));
        connection.arrives().expect("the answer begins");
        connection
    };
    let first = large(GREEDY);
    // Half of it is written into sockets at most; a second one does not fit.
    let mut second = begin(&server, &execute(GREEDY, "huge-output 48000000"));
    second.answer(false).expect("an answer").expect_failure(502, "output_too_large");
    // A batch reserves room for its answers: it is rejected before anything runs.
    let batch = Request::post("/orchestrator/batch", &json!([{ "agent": "hostile", "query": "echo x" }]));
    let before = calls(&server);
    overloaded(&server.ask_plainly(batch.clone().key(GREEDY)), "key_answers");
    assert_eq!(calls(&server), before, "nothing ran for it");
    // Small answers, other keys and health go on.
    server.ask_plainly(execute(GREEDY, "echo x")).expect(200);
    server.ask_plainly(batch.clone().key(POLITE)).expect(200);
    let other = large(POLITE);
    overloaded(&server.ask_plainly(batch.clone().key(POLITE)), "answers");
    is_healthy(&server);
    // What is read or given up makes room.
    drop((first, other));
    poll_until("there is room again", || {
        (server.ask_plainly(batch.clone().key(GREEDY)).status == 200).then_some(())
    });
    let mut whole = large(GREEDY);
    let answer = whole.answer(false).expect("all of it").expect(200);
    assert_eq!(answer["response"].as_str().map(str::len), Some(48_000_000));
    let mut whole = large(GREEDY);
    let answer = whole.answer(false).expect("all of it").expect(200);
    assert_eq!(answer["response"].as_str().map(str::len), Some(48_000_000));
}

#[test]
fn batches_side_by_side_wait_for_room_instead_of_failing() {
    let server = serve_patiently("10m", "max_answers = \"32 MiB\"\nkey_answers = \"32 MiB\"");
    let batch = Request::post(
        "/orchestrator/batch",
        &json!(vec![json!({ "agent": "hostile", "query": "echo x" }); 20]),
    );
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let answers = server.ask_plainly(batch.clone().key(GREEDY)).expect(200);
                assert_eq!(answers.as_array().map(Vec::len), Some(20));
            });
        }
    });
}

#[test]
fn clients_behind_a_trusted_proxy_have_shares_of_their_own() {
    let server = serve("max_connections = 64\naddress_connections = 2\ntrusted_proxies = \"127.0.0.1\"");
    let of = |client: &str, query: &str| execute(GREEDY, query).header("x-forwarded-for", client);
    let held: Vec<_> = (0..2).map(|_| begin(&server, &of("203.0.113.1", "sleep 3000000"))).collect();
    poll_until("both run", || (calls(&server) == 2).then_some(()));
    overloaded(&server.ask_plainly(of("203.0.113.1", "echo x")), "address_connections");
    // Health, other clients of the proxy and the proxy itself are none of it.
    let health = Request::get("/healthz").header("x-forwarded-for", "203.0.113.1");
    assert_eq!(server.ask_plainly(health).status, 200);
    server.ask_plainly(of("203.0.113.2", "echo x")).expect(200);
    server.ask_plainly(execute(GREEDY, "echo x")).expect(200);
    drop(held);
    poll_until("there is room again", || {
        (server.ask_plainly(of("203.0.113.1", "echo x")).status == 200).then_some(())
    });
}

#[test]
fn components_on_their_way_have_room_for_a_key_and_for_all() {
    let admins = keys().replace("scope", "role = \"admin\"\nscope");
    let settings = |body_timeout: &str| {
        format!(
            "[server]\nbody_timeout = \"{body_timeout}\"\n[engine]\nmax_component_size = \"1 MiB\"\n{admins}\
             [agents.echo]\ncomponent = \"<echo>\"\n"
        )
    };
    let fleet = Fleet::new(&settings("1h"));
    let server = fleet.start().key(GREEDY).serve();
    let begin = || {
        let request = Request::new("POST", "/api/agents")
            .key(GREEDY)
            .header("content-type", "multipart/form-data; boundary=frontier")
            .header("expect", "100-continue")
            .header("content-length", (2 * 1024 * 1024).to_string());
        let mut connection = begin(&server, &request);
        connection.arrives().expect("it goes on");
        connection
    };
    // The largest there are: half of what all may have.
    let held = [begin(), begin()];
    // They keep the time that they wait for; requests that come now wait for less.
    fleet.settings(&settings("200ms"));
    server.log_lines("the time is applied", |line| line["message"] == "settings applied");
    let register = |key: &str, id: &str| {
        let request = Request::multipart("POST", "/api/agents", &json!({ "id": id }), &plain(1));
        server.ask_plainly(request.key(key))
    };
    let refused = register(GREEDY, "one").expect_failure(503, "overloaded");
    assert!(refused["message"].to_string().contains("components are being uploaded"), "{refused}");
    register(POLITE, "two").expect(201);
    drop(held);
    poll_until("there is room again", || (register(GREEDY, "three").status == 201).then_some(()));
}
