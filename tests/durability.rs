//! What was answered is on disk: the order of the system calls that put it there, and kills that land
//! between them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::registering::register;
use crate::support::fleet::{digest, plain};
use crate::support::{Fleet, PATIENCE, Request, Server, poll_until};

const NAMED: &str = "[agents.named]\ncomponent = \"<echo>\"\n";

/// A system call, from the line at which it began to the one at which it ended.
#[derive(Debug)]
struct SystemCall {
    text: String,
    began: usize,
    ended: usize,
}

/// Reads what `strace -f` wrote, in the order in which calls ended.
fn system_calls(trace: &str) -> Vec<SystemCall> {
    let (mut open, mut calls) = (HashMap::new(), Vec::new());
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (line, begun.to_owned()));
        } else if text.starts_with("<... ") {
            let Some((began, begun)) = open.remove(thread) else { continue };
            calls.push(SystemCall { text: format!("{begun} {text}"), began, ended: line });
        } else {
            calls.push(SystemCall { text: text.to_owned(), began: line, ended: line });
        }
    }
    calls
}

/// The first call with one of these names and all of these words that began after a line and went well.
#[track_caller]
fn after<'a>(calls: &'a [SystemCall], line: usize, names: &[&str], words: &[&str]) -> &'a SystemCall {
    let found = calls.iter().filter(|call| call.began > line && !call.text.contains("= -1"));
    let mut found = found.filter(|call| {
        let name = call.text.split('(').next().unwrap_or_default();
        names.contains(&name) && words.iter().all(|word| call.text.contains(word))
    });
    let relevant = || {
        let of_ours =
            calls.iter().filter(|call| call.text.contains("/data/") || call.text.contains("HTTP/1.1"));
        of_ours.map(|call| format!("{}: {}", call.began, call.text)).collect::<Vec<_>>().join("\n")
    };
    found.next().unwrap_or_else(|| panic!("no {names:?} with {words:?} after {line} in\n{}", relevant()))
}

const SYNC: &[&str] = &["fsync", "fdatasync"];
const RENAME: &[&str] = &["rename", "renameat", "renameat2"];
const WRITE: &[&str] = &["write", "writev", "sendto", "sendmsg"];

/// Whether system calls can be watched here. Where everything is checked, they must be.
fn can_trace() -> bool {
    let mut command = Command::new("strace");
    let reason = match command.args(["-D", "-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("CI").is_none(), "strace is needed where CI is set: {reason}");
    eprintln!("skipped: system calls cannot be watched without strace ({reason})");
    false
}

#[test]
fn what_is_answered_was_flushed_before_in_the_order_that_a_crash_needs() {
    if !can_trace() {
        return;
    }
    let fleet = Fleet::new(NAMED);
    let trace = fleet.path("trace");
    let calls = "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64,write,writev,sendto,sendmsg";
    let strace = ["strace", "-D", "-f", "-y", "-s", "64", "-e", calls, "-e", "signal=none", "-o"];
    let strace = strace.map(str::to_owned).into_iter().chain([trace.display().to_string()]);
    let server = fleet.start().under(strace).serve();
    register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201);
    server.ask(Request::new("DELETE", "/api/agents/guest")).expect(200);
    let host = server.id();
    server.terminate();
    server.ended();
    let text = poll_until("the trace is complete", || {
        let text = fs::read_to_string(&trace).ok()?;
        let of_the_host = |line: &str| line.starts_with(&format!("{host} "));
        text.lines().any(|line| of_the_host(line) && line.contains("+++ exited")).then_some(text)
    });
    let calls = system_calls(&text);
    let component = digest(&plain(1));
    // The component: written aside, flushed, renamed, and its name flushed.
    let renamed = after(&calls, 0, RENAME, &["/components/.writing-", &component]);
    let aside = renamed.text.split('"').nth(1).expect("the name it had");
    let flushed = after(&calls, 0, SYNC, &[aside]);
    assert!(flushed.ended < renamed.began, "{flushed:?} {renamed:?}");
    let named = after(&calls, renamed.ended, SYNC, &["/components>"]);
    // Then the record, and then the answer.
    let recorded = after(&calls, named.ended, SYNC, &["/registry.db-wal>"]);
    let answered = after(&calls, 0, WRITE, &["HTTP/1.1 201"]);
    assert!(recorded.ended < answered.began, "{recorded:?} {answered:?}");
    // The same for what goes.
    let removed = after(&calls, answered.ended, &["pwrite64"], &["/registry.db-wal>"]);
    let recorded = after(&calls, removed.ended, SYNC, &["/registry.db-wal>"]);
    let answered = after(&calls, removed.ended, WRITE, &["HTTP/1.1 200"]);
    assert!(recorded.ended < answered.began, "{recorded:?} {answered:?}");
    // Nothing is left unflushed in any database's log that an answer went before.
    let file = |call: &SystemCall| call.text.split(['<', '>']).nth(1).map(str::to_owned);
    let before = || calls.iter().filter(|call| call.ended < answered.began);
    let is_flushed = |written: &SystemCall| {
        before().any(|call| {
            let flushes = SYNC.iter().any(|name| call.text.starts_with(&format!("{name}(")));
            flushes && call.began > written.ended && file(call) == file(written)
        })
    };
    let late: Vec<_> = before()
        .filter(|call| call.began > recorded.ended)
        .filter(|call| call.text.starts_with("pwrite64") && call.text.contains("-wal>"))
        .filter(|call| !is_flushed(call))
        .collect();
    assert!(late.is_empty(), "{late:?}");
}

/// A component that takes a while to be written.
fn large(number: u8) -> Vec<u8> {
    let mut bytes = plain(number);
    let content = vec![number; 12 << 20];
    // A custom section without a name: its size in five bytes, the length of its name, its content.
    let size = content.len() as u64 + 1;
    bytes.push(0);
    bytes.extend((0..4).map(|at| (size >> (7 * at)) as u8 & 0x7f | 0x80));
    bytes.push((size >> 28) as u8 & 0x7f);
    bytes.push(0);
    bytes.extend(content);
    bytes
}

/// Where a kill is to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The component is being written.
    Writing,
    /// It is there, and no record names it.
    Kept,
}

/// The names in the folder of components.
fn names(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("components")).expect("a folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Registers a component and kills the host as soon as the moment is seen; whether an answer came.
fn register_and_kill(server: Server, data: &Path, id: &str, bytes: &[u8], moment: Moment) -> Option<u16> {
    let request = server.signed(Request::multipart("POST", "/api/agents", &json!({ "id": id }), bytes));
    let mut connection = server.connect();
    let answer = std::thread::spawn(move || connection.try_ask(&request).ok().map(|reply| reply.status));
    let wanted = digest(bytes);
    let seen = |name: &String| match moment {
        Moment::Writing => name.starts_with(".writing-"),
        Moment::Kept => *name == wanted,
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    while !names(data).iter().any(seen) {
        // On a busy machine it may have gone by before this looked.
        if answer.is_finished() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{moment:?} was never seen");
        std::hint::spin_loop();
    }
    server.kill();
    drop(server);
    answer.join().expect("the client ends")
}

#[test]
fn kills_that_land_in_the_middle_leave_nothing_of_a_half() {
    const ROUNDS: u8 = 20;
    for moment in [Moment::Writing, Moment::Kept] {
        let fleet = Fleet::new(NAMED);
        let mut landed = false;
        for round in 0..ROUNDS {
            let (id, bytes) = (format!("guest-{round}"), large(round));
            let answer = register_and_kill(fleet.serve(), &fleet.data(), &id, &bytes, moment);
            let left = names(&fleet.data());
            let kept = left.contains(&digest(&bytes));
            let database =
                rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the database");
            let count = "SELECT count(*) FROM agents WHERE id = ?1";
            let recorded: i64 = database.query_row(count, [&id], |row| row.get(0)).expect("a count");
            drop(database);
            let between = match moment {
                Moment::Writing => !kept && left.iter().any(|name| name.starts_with(".writing-")),
                Moment::Kept => kept && recorded == 0,
            };
            let server = fleet.serve();
            let there = server.get(&format!("/orchestrator/agents/{id}")).status == 200;
            assert_eq!(there, recorded == 1, "what is recorded is there, and nothing else");
            assert!(answer.is_none() || there, "what was answered is there");
            if there {
                assert_eq!(server.call(&id, "x").expect(200)["agent_digest"], digest(&bytes));
            } else {
                poll_until("what nobody needs goes", || {
                    let left = names(&fleet.data());
                    let odd = |name: &String| name.starts_with(".writing-") || *name == digest(&bytes);
                    (!left.iter().any(odd)).then_some(())
                });
            }
            landed |= between;
            if landed {
                break;
            }
        }
        assert!(landed, "in {ROUNDS} rounds no kill landed at {moment:?}");
    }
}
