//! Compiling a stranger's component: in a process of its own, within bounds, and gone with the host.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::server::Start;
use crate::support::{Server, guests, poll_until, root};

/// A component with one function of so many branches, each of which depends on the one before:
/// that takes the compiler far more than its size suggests.
fn laborious(branches: usize) -> PathBuf {
    let body = "local.get 0 i32.load local.tee 0 if local.get 1 local.get 0 i32.add local.set 1 end "
        .repeat(branches);
    let text = root().join("tests/guests/text");
    let read = |path: &str| fs::read_to_string(text.join(path)).expect("a guest's text");
    let function = format!("(func (export \"labour\") (param i32 i32) (result i32) {body} local.get 1)");
    let core = read("cores/plain.wat");
    let core =
        core.replacen("(func (export \"describe\")", &format!("{function} (func (export \"describe\")"), 1);
    let bytes = wat::parse_str(read("frame.wat").replace(";; CORE", &core)).expect("a component");
    guests::file(&format!("laborious-{branches}.wasm"), &bytes)
}

/// The processes that this one started and that still run.
fn children(of: u32) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("the system's processes").flatten();
    let mut found = Vec::new();
    for process in processes.map(|entry| entry.path()) {
        let Ok(stat) = fs::read_to_string(process.join("stat")) else { continue };
        // After the name, in brackets, come the state and the parent.
        let mut rest = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, parent) = (rest.next(), rest.next());
        if state != Some("Z") && parent == Some(of.to_string().as_str()) {
            found.push(process);
        }
    }
    found
}

fn limit<'t>(limits: &'t str, name: &str) -> Vec<&'t str> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{limits}"));
    line.split_whitespace().take(2).collect()
}

fn refused(settings: &str, component: &Path) -> (Server, String) {
    let fleet = format!(
        "{settings}[agents.good]\ncomponent = \"<echo>\"\n[agents.heavy]\ncomponent = {component:?}\n"
    );
    let server = Server::with(&fleet);
    let page = server.agent("heavy");
    assert_eq!(page["status"], "failed", "{page}");
    let error = page["last_reload"]["error"].as_str().expect("a reason").to_owned();
    server.call("good", "hello").expect(200);
    (server, error)
}

#[test]
fn one_that_takes_too_much_memory_is_refused_and_the_host_serves_on() {
    let (server, error) = refused("[engine]\ncompile_memory = \"256MiB\"\n", &laborious(300_000));
    assert!(error.contains("compile_memory") && error.contains("268435456"), "{error}");
    assert_eq!(children(server.id()), Vec::<PathBuf>::new());
}

#[test]
fn one_that_takes_too_long_is_refused_and_the_host_serves_on() {
    let (server, error) = refused("[engine]\ncompile_time = \"1s\"\n", &laborious(300_000));
    assert!(error.contains("compile_time") && error.contains("1 s"), "{error}");
    assert_eq!(children(server.id()), Vec::<PathBuf>::new());
}

#[test]
fn the_compiler_is_confined_and_ends_with_its_host() {
    let settings = format!("[agents.heavy]\ncomponent = {:?}\n", laborious(300_000));
    let server = Start::settings(&settings).at_once().serve();
    // It confines itself before it reads a byte; the fence comes last.
    let (child, limits) = poll_until("a compiler runs, confined", || {
        let child = children(server.id()).pop()?;
        let status = fs::read_to_string(child.join("status")).ok()?;
        let is = |line: &str| status.lines().any(|found| found == line);
        (is("Seccomp:\t2") && is("NoNewPrivs:\t1")).then(|| {
            let limits = fs::read_to_string(child.join("limits")).expect("its limits");
            (child, limits)
        })
    });
    assert_eq!(limit(&limits, "Max open files"), ["16", "16"]);
    // What it gives is a file in memory: both together are what is allowed.
    assert_eq!(limit(&limits, "Max data size"), ["1610612736", "1610612736"]);
    assert_eq!(limit(&limits, "Max file size"), ["536870912", "536870912"]);
    assert_eq!(limit(&limits, "Max cpu time"), ["60", "61"]);
    assert_eq!(limit(&limits, "Max core file size"), ["0", "0"]);
    assert_eq!(fs::read(child.join("environ")).expect("its environment"), b"");
    assert_eq!(fs::read_link(child.join("cwd")).expect("its folder"), Path::new("/"));
    server.kill();
    poll_until("the compiler is gone", || {
        let state = fs::read_to_string(child.join("stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
}

#[test]
fn nobody_else_can_make_use_of_the_compilers_subcommand() {
    let help = crate::support::command::stockade(["--help"]).expect(0);
    assert!(!help.contains("compile-component"), "{help}");
    let order = r#"{"bytes": 0, "own_functions": null, "shared_functions": null, "memory": 1000000000, "seconds": 10, "parent": 1, "fence": true}"#;
    let ran = crate::support::command::stockade(["compile-component", order]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("the host has ended"), "{}", ran.err);
}
