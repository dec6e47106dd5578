//! Behaviours that cost the host something without costing the guest much.
//!
//! Owns no state; handles that are made and kept die with the sandbox.
// A flood prints; that is what it is.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unnecessary_wraps)]

use stockade_sdk::{Failure, Reply, log as journal};
use wasip2::{clocks::monotonic_clock, io::poll, random};

use crate::Call;

/// Writes so many messages, of so many bytes, through `wasi:logging`.
pub(crate) fn log(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let (messages, line) = flood(call)?;
    for _ in 0..messages {
        journal::info!("{line}");
    }
    Ok(Reply::text(format!("logged {messages} messages")))
}

/// Prints so many lines, of so many bytes, to standard output.
pub(crate) fn stdout(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let (lines, line) = flood(call)?;
    for _ in 0..lines {
        println!("{line}");
    }
    Ok(Reply::text(format!("printed {lines} lines")))
}

/// Prints so many lines, of so many bytes, to standard error.
pub(crate) fn stderr(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let (lines, line) = flood(call)?;
    for _ in 0..lines {
        eprintln!("{line}");
    }
    Ok(Reply::text(format!("printed {lines} lines")))
}

/// Asks for so many random bytes in one host call.
pub(crate) fn random(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let bytes = random::random::get_random_bytes(call.number(1 << 30)?);
    Ok(Reply::text(format!("got {} random bytes", bytes.len())))
}

/// Makes so many handles and drops none.
pub(crate) fn handles(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let count = call.number(10_000_000)?;
    for _ in 0..count {
        std::mem::forget(monotonic_clock::subscribe_duration(1_000_000_000_000));
    }
    Ok(Reply::text(format!("holds {count} handles")))
}

/// Makes so many cheap host calls.
pub(crate) fn host_calls(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let count = call.number(10_000_000)?;
    let mut last = 0;
    for _ in 0..count {
        last = monotonic_clock::now();
    }
    Ok(Reply::text(format!("made {count} host calls, the last at {last}")))
}

/// Waits for so many handles in one host call; the first is ready at once.
pub(crate) fn poll_many(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let count = call.number(10_000)?;
    let mut handles = vec![monotonic_clock::subscribe_duration(0)];
    handles.extend((1..count).map(|_| monotonic_clock::subscribe_duration(1_000_000_000_000)));
    let waited: Vec<&poll::Pollable> = handles.iter().collect();
    let ready = poll::poll(&waited).len();
    Ok(Reply::text(format!("{ready} of {count} handles were ready")))
}

/// How many, and what to write: a line of so many bytes.
fn flood(call: &mut Call<'_>) -> Result<(u64, String), Failure> {
    let count = call.number(100_000)?;
    let bytes = call.number(100)?;
    Ok((count, "x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX))))
}
