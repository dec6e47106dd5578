//! Compiling in a process of its own: what the host does about it. `compiler.rs` is the child.
//!
//! The child gets the component on its standard input and leaves compiled code on its standard
//! output, which is a file in memory: neither passes through the host's own. It starts with
//! nothing of the host's (no environment, no open files), reads the compiled functions that it is told of and writes none, and
//! whatever it does or becomes, the host is left with a file or a [`LoadError`].

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::cache::Sources;
use super::compiler::{OUT_OF_MEMORY, Order, Refusal};
use super::component::LoadError;
use super::fence;
use super::output::scratch;
use crate::config::EngineConfig;

/// The subcommand that the child runs as.
const COMPILE_COMMAND: &str = "compile-component";

/// How many times its processor time the child may take by the clock: it runs at a low
/// priority, and guests may keep every processor busy.
const CLOCK_FACTOR: u32 = 4;
/// The most that is read of the child's standard error.
const MAX_STDERR: u64 = 64 * 1024;

/// Compiles `bytes` in a child process that runs `program` and may read these functions; the file holds what it gave.
///
/// Dropping the future kills the child.
pub(super) async fn compile(
    program: &Path,
    bytes: &[u8],
    functions: Sources,
    config: &EngineConfig,
) -> Result<File, LoadError> {
    let failed = |what: &str, error: std::io::Error| {
        LoadError::CompilerFailed(format!("{what} ({}): {error}", program.display()))
    };
    let compiled = scratch().map_err(|error| failed("no memory for its output", error))?;
    let output = compiled.try_clone().map_err(|error| failed("no file for its output", error))?;
    let order = Order {
        bytes: bytes.len(),
        own_functions: functions.own,
        shared_functions: functions.shared,
        memory: config.compile_memory,
        seconds: config.compile_time.as_secs().max(1),
        parent: std::process::id(),
        fence: fence::is_available(),
    };
    let order = serde_json::to_string(&order).map_err(|error| failed("no order for it", error.into()))?;
    let mut child = Command::new(program)
        .args([COMPILE_COMMAND, &order])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(output))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed("it cannot be started", error))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut stderr = Vec::new();
    let clock = config.compile_time.saturating_mul(CLOCK_FACTOR);
    let ended = tokio::time::timeout(clock, wait_for(&mut child, bytes, &mut stderr)).await;
    // The child, where the time is up, and whatever it may have started.
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    match ended {
        Ok(Ok(status)) => verdict(status, &String::from_utf8_lossy(&stderr), config).map(|()| compiled),
        Ok(Err(error)) => Err(failed("it was lost", error)),
        Err(_) => {
            // It is dead; this only collects it.
            let _ = child.wait().await;
            Err(too_long(config))
        }
    }
}

/// Feeds the child and listens to it until it ends.
async fn wait_for(child: &mut Child, bytes: &[u8], stderr: &mut Vec<u8>) -> std::io::Result<ExitStatus> {
    let (input, words) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // A child that ended early closed this; how it ended says more than the error here.
            let _ = input.write_all(bytes).await;
        }
    };
    let listen = async {
        match words {
            Some(words) => words.take(MAX_STDERR).read_to_end(stderr).await.map(|_| ()),
            None => Ok(()),
        }
    };
    let ((), heard) = tokio::join!(feed, listen);
    heard?;
    child.wait().await
}

/// The exit code of a child that refuses, and says why in its last line.
const REFUSES: i32 = 1;

/// What the way in which the child ended means. What it wrote is believed only after the exit code
/// that says that it wrote it: there may be a stranger's names in the rest.
fn verdict(status: ExitStatus, stderr: &str, config: &EngineConfig) -> Result<(), LoadError> {
    if status.success() {
        return Ok(());
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let memory = LoadError::CompileMemory { limit: config.compile_memory };
    if let Some(signal) = status.signal() {
        let is = |one: Signal| signal == one.as_raw();
        if is(Signal::XCPU) {
            return Err(too_long(config));
        }
        // An allocation that is refused ends a Rust program by `abort`, and nothing else in the
        // compiler does; a file that grows too large ends any program.
        if is(Signal::ABORT) || is(Signal::XFSZ) {
            return Err(memory);
        }
        if is(Signal::KILL) {
            return Err(LoadError::CompilerFailed(
                "the system killed it, most likely because the machine's memory ran out".to_owned(),
            ));
        }
    } else if status.code() == Some(OUT_OF_MEMORY) {
        return Err(memory);
    } else if status.code() == Some(REFUSES)
        && let Ok(refusal) = serde_json::from_str(last)
    {
        return Err(match refusal {
            Refusal::Refused(reason) => LoadError::Invalid(reason),
            Refusal::Memory(_) => memory,
            Refusal::Broken(reason) => LoadError::CompilerFailed(reason),
        });
    }
    let end: String = last.chars().take(500).collect();
    Err(LoadError::CompilerFailed(format!("it ended with {status}: {end}")))
}

fn too_long(config: &EngineConfig) -> LoadError {
    LoadError::CompileTime { seconds: Duration::from_secs(config.compile_time.as_secs().max(1)).as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn ended(raw: i32, stderr: &str) -> LoadError {
        let config = Config::defaults(Path::new("/")).engine;
        verdict(ExitStatus::from_raw(raw), stderr, &config).expect_err("a refusal")
    }

    #[test]
    fn however_it_ends_the_host_knows_what_to_say() {
        let limit = 2 << 30;
        let exit = |code: i32| code << 8;
        assert_eq!(ended(Signal::XCPU.as_raw(), ""), LoadError::CompileTime { seconds: 60 });
        let memory = LoadError::CompileMemory { limit };
        assert_eq!(ended(Signal::ABORT.as_raw(), "memory allocation of 9 bytes failed\n"), memory);
        assert_eq!(ended(Signal::XFSZ.as_raw(), ""), memory);
        assert_eq!(ended(exit(OUT_OF_MEMORY), "note: a backtrace"), memory);
        assert_eq!(ended(exit(1), "{\"memory\":\"mmap failed\"}"), memory);
        let refused = "a warning\n{\"refused\":\"unexpected end\"}\n";
        assert_eq!(ended(exit(1), refused), LoadError::Invalid("unexpected end".to_owned()));
        // A stranger's names are in what the compiler says, and mean nothing there.
        for name in ["memory allocation of 9 bytes failed", "Cannot allocate memory (os error 12)"] {
            let stderr = serde_json::to_string(&Refusal::Refused(name.to_owned())).expect("a refusal");
            assert_eq!(ended(exit(1), &stderr), LoadError::Invalid(name.to_owned()));
            assert!(matches!(ended(exit(101), name), LoadError::CompilerFailed(_)));
        }
        let forged = "thread panicked: export `\n{\"memory\":\"\"}";
        assert!(matches!(ended(exit(101), forged), LoadError::CompilerFailed(_)));
        for (raw, stderr, word) in [
            (Signal::KILL.as_raw(), "", "memory ran out"),
            (Signal::SEGV.as_raw(), "", "SIGSEGV"),
            (exit(101), "thread 'main' panicked at x.rs:1:\nindex out of bounds", "index out of bounds"),
            (exit(1), "{\"broken\":\"no input\"}", "no input"),
        ] {
            let LoadError::CompilerFailed(reason) = ended(raw, stderr) else { panic!("{stderr}") };
            assert!(reason.contains(word), "{reason}");
        }
    }
}
