//! Proxies in front: whose address a request has, and that callers without a key come from this machine
//! alone, however they are handed on.

use crate::support::server::Start;
use crate::support::{Connection, Fleet, Request, Server, poll_until};

const FLEET: &str = "[agents.echo]\ncomponent = \"<echo>\"\n";

fn list() -> Request {
    Request::get("/orchestrator/agents")
}

#[test]
fn without_a_key_nothing_that_a_proxy_hands_on_is_answered() {
    let server = Start::settings(FLEET).anonymous().serve();
    server.ask_plainly(list()).expect(200);
    server.ask_plainly(list().header("host", "localhost:8001")).expect(200);
    server.ask_plainly(list().header("host", "127.0.0.1")).expect(200);
    for header in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-real-ip",
        "via",
        "cf-connecting-ip",
        "cf-ray",
        "true-client-ip",
        "fastly-client-ip",
        "x-client-ip",
        "x-envoy-external-address",
    ] {
        let handed_on = server.ask_plainly(list().header(header, "127.0.0.1"));
        let body = handed_on.expect_failure(403, "forbidden");
        assert!(body["message"].to_string().contains("proxy"), "{header}: {body}");
    }
    for host in ["203.0.113.5", "203.0.113.5:8001", "0.0.0.0", "10.0.0.7", "evil.example", ""] {
        server.ask_plainly(list().header("host", host)).expect_failure(403, "forbidden");
    }
    let both = list().header("host", "203.0.113.5").header("x-forwarded-for", "198.51.100.7");
    server.ask_plainly(both).expect_failure(403, "forbidden");
    // A target that names a host of its own, and a client that names none.
    let absolute = Request::get("http://evil.example/orchestrator/agents").header("host", "localhost");
    server.ask_plainly(absolute).expect_failure(403, "forbidden");
    let mut connection = Connection::open(server.address);
    connection.send(b"GET /orchestrator/agents HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(connection.answer(false).expect("an answer").status, 403);
    // What is open to all stays open.
    server.ask_plainly(Request::get("/healthz").header("via", "1.1 proxy")).expect(200);
}

#[test]
fn behind_a_trusted_proxy_on_this_machine_a_key_is_needed() {
    let trusting = format!("[server]\ntrusted_proxies = \"127.0.0.1\"\n{FLEET}");
    let server = Start::settings(&trusting).anonymous().serve();
    server.ask_plainly(list()).expect_failure(403, "forbidden");
    server.ask_plainly(list().header("x-forwarded-for", "127.0.0.1")).expect_failure(403, "forbidden");
}

/// The client that the log says this request had.
fn logged(server: &Server, id: &str, request: Request) -> String {
    server.ask(request.header("x-request-id", id));
    let lines = server.log_lines(id, |line| line["request_id"] == id && line["status"].is_number());
    lines[0]["client"].as_str().unwrap_or_else(|| panic!("no client in {}", lines[0])).to_owned()
}

#[test]
fn the_log_names_the_client_that_a_trusted_proxy_names_and_nobody_elses() {
    let forged = || list().header("x-forwarded-for", "198.51.100.1");
    let plain = Server::with(FLEET);
    assert_eq!(logged(&plain, "a", list()), "127.0.0.1");
    assert_eq!(logged(&plain, "b", forged()), "127.0.0.1", "anybody can write that");
    let trusting = format!("[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n{FLEET}");
    let server = Server::with(&trusting);
    for (id, request, client) in [
        ("c", list(), "127.0.0.1"),
        ("d", forged(), "198.51.100.1"),
        ("e", list().header("x-forwarded-for", "192.0.2.9, 198.51.100.2, 10.1.1.1"), "198.51.100.2"),
        ("f", list().header("forwarded", "for=\"[2001:db8::7]:1234\";proto=https"), "2001:db8::7"),
        ("g", forged().header("forwarded", "for=192.0.2.9"), "127.0.0.1"),
        ("h", list().header("x-forwarded-for", "198.51.100.3, not an address"), "127.0.0.1"),
    ] {
        assert_eq!(logged(&server, id, request), client, "{id}");
    }
}

#[test]
fn a_proxy_is_trusted_from_the_moment_that_the_settings_say_so() {
    let fleet = Fleet::new(FLEET);
    let server = fleet.serve();
    let mut asked = 0;
    let mut client = || {
        asked += 1;
        logged(&server, &format!("live-{asked}"), list().header("x-forwarded-for", "198.51.100.1"))
    };
    assert_eq!(client(), "127.0.0.1");
    fleet.settings(&format!("[server]\ntrusted_proxies = \"127.0.0.0/8\"\n{FLEET}"));
    poll_until("the proxy is trusted", || (client() == "198.51.100.1").then_some(()));
    fleet.settings(FLEET);
    poll_until("it is trusted no longer", || (client() == "127.0.0.1").then_some(()));
}
