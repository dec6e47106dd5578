//! `/readyz`: what keeps a host from being ready, and that news never does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::fleet::{plain, variant};
use crate::support::{Fleet, Request, Server, guests};

const ECHO: &str = "[agents.echo]\ncomponent = \"<echo>\"\n";

/// A version whose `describe` runs until its fuel is used up.
fn hanging(number: u8) -> Vec<u8> {
    variant(&guests::text("describe-hangs"), number)
}

fn agent(id: &str) -> String {
    format!("[agents.{id}]\ncomponent = \"plugins/{id}.wasm\"\n")
}

/// Asks whether the host is ready for as long as `change` runs: it always is. Returns how often.
fn always_ready(server: &Server, change: impl FnOnce()) -> usize {
    let going = AtomicBool::new(true);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut connection, mut asked) = (server.connect(), 0);
            while going.load(Ordering::Relaxed) {
                let reply = connection.ask(&Request::get("/readyz"));
                assert_eq!(reply.status, 200, "{}", reply.text);
                asked += 1;
            }
            asked
        });
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        going.store(false, Ordering::Relaxed);
        let asked = asking.join().expect("it is ready all the time");
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        asked
    })
}

#[test]
fn a_host_that_serves_is_ready_whatever_agents_come() {
    let fleet = Fleet::new(ECHO);
    let server = fleet.serve();
    let mut settings = ECHO.to_owned();
    let loading = AtomicUsize::new(0);
    let asked = always_ready(&server, || {
        for number in 0..3 {
            let id = format!("slow-{number}");
            fleet.plugin(&id, &hanging(number));
            settings.push_str(&agent(&id));
            fleet.settings(&settings);
            server.wait_for_page(&id, "it has failed", |page| {
                loading.fetch_add(usize::from(page["status"] == "loading"), Ordering::Relaxed);
                page["status"] == "failed"
            });
        }
        settings.push_str(&agent("missing"));
        fleet.settings(&settings);
        server.wait_for_page("missing", "it is missing", |page| page["status"] == "missing");
        mknodat(CWD, fleet.path("plugins/pipe.wasm"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        settings.push_str(&agent("pipe"));
        fleet.settings(&settings);
        server.wait_for_page("pipe", "it has failed", |page| page["status"] == "failed");
        settings.push_str(&agent("fine"));
        fleet.plugin("fine", &plain(1));
        fleet.settings(&settings);
        server.wait_for_page("fine", "it serves", |page| page["status"] == "active");
    });
    let loading = loading.into_inner();
    assert!(asked > 0 && loading > 0, "asked {asked} times; seen loading {loading} times");
}

#[test]
fn agents_that_cannot_be_loaded_keep_no_host_from_getting_ready() {
    let fleet = Fleet::new(&format!("{ECHO}{}{}{}", agent("hanging"), agent("missing"), agent("pipe")));
    fleet.plugin("hanging", &hanging(1));
    mknodat(CWD, fleet.path("plugins/pipe.wasm"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    let server = fleet.serve();
    server.call("echo", "x").expect(200);
    for (id, status) in [("hanging", "failed"), ("missing", "missing"), ("pipe", "failed")] {
        assert_eq!(server.agent(id)["status"], status);
    }
}
