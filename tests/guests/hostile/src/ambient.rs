//! Behaviours that try what WASI gives every program: nothing of it may lead anywhere.
//!
//! Owns no state. Each reports what it got in `data`, as `{"got": [...]}`: an inert host gives nothing.

use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    thread,
    time::Duration,
};

use stockade_sdk::{Failure, Reply, json};

use crate::Call;

/// Sleeps in a host call, which neither fuel nor an epoch interrupts, then answers.
pub(crate) fn sleep(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let milliseconds = call.number(60_000)?;
    thread::sleep(Duration::from_millis(milliseconds));
    Ok(Reply::text(format!("slept {milliseconds} ms")))
}

/// Sleeps, and then computes until something ends it.
pub(crate) fn wake(call: &mut Call<'_>) -> Result<Reply, Failure> {
    sleep(call)?;
    crate::compute::endless(call)
}

/// Reads the environment, the arguments and the working folder.
pub(crate) fn environment(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut got: Vec<String> =
        std::env::vars_os().map(|(name, value)| format!("{name:?}={value:?}")).collect();
    got.extend(std::env::args_os().map(|argument| format!("argument {argument:?}")));
    report(&got)
}

/// Reads, lists and writes files.
pub(crate) fn files(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut got = Vec::new();
    for path in ["/etc/passwd", "/proc/self/environ", "agents.toml", "../agents.toml"] {
        if fs::read(path).is_ok() {
            got.push(format!("read {path}"));
        }
    }
    for path in ["/", ".", ".."] {
        if fs::read_dir(path).is_ok() {
            got.push(format!("listed {path}"));
        }
    }
    for path in ["/tmp/stockade-escape", "stockade-escape"] {
        if fs::write(path, "escaped").is_ok() {
            got.push(format!("wrote {path}"));
        }
    }
    report(&got)
}

/// Connects, listens, sends and resolves.
pub(crate) fn sockets(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut got = Vec::new();
    for address in ["127.0.0.1:8001", "127.0.0.1:22", "169.254.169.254:80", "[::1]:8001"] {
        if TcpStream::connect(address).is_ok() {
            got.push(format!("connected to {address}"));
        }
    }
    if TcpListener::bind("127.0.0.1:0").is_ok() {
        got.push("listened".to_owned());
    }
    if UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", "127.0.0.1:53")).is_ok() {
        got.push("sent a datagram".to_owned());
    }
    if ("localhost", 80).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some()) {
        got.push("resolved localhost".to_owned());
    }
    report(&got)
}

/// Reads standard input to its end.
pub(crate) fn stdin(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    let got =
        if read.is_ok() && !text.is_empty() { vec![format!("{} bytes", text.len())] } else { Vec::new() };
    report(&got)
}

fn report(got: &[String]) -> Result<Reply, Failure> {
    let response = if got.is_empty() { "nothing".to_owned() } else { got.join("; ") };
    Ok(Reply::text(response).with_data(json!({ "got": got })))
}
