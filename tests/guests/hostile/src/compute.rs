//! Behaviours that compute without end, or end in a trap.
//!
//! Owns no state; calls nothing of the host, so that only fuel and the stack can stop them.
// The lints are right about all of this; it is what these behaviours are for.
#![allow(clippy::unnecessary_wraps, unconditional_recursion)]

use std::hint::black_box;

use stockade_sdk::{Failure, Reply};

use crate::Call;

/// Loops for ever.
pub(crate) fn endless(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        black_box(());
    }
}

/// Works through so many million rounds, then answers with a sum that depends on them all.
pub(crate) fn busy(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let rounds = call.number(10)?.saturating_mul(1_000_000);
    let mut sum = 0_u64;
    for round in 0..rounds {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(round));
    }
    Ok(Reply::text(sum.to_string()))
}

/// Calls itself until the stack is used up.
pub(crate) fn recurse(_: &mut Call<'_>) -> Result<Reply, Failure> {
    Ok(Reply::text(deeper(0).to_string()))
}

/// Almost no frame of its own in linear memory: the host's limit on the stack is met first.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    black_box(depth).wrapping_add(deeper(black_box(depth) + 1)) ^ 1
}

/// Executes `unreachable`, with no message.
pub(crate) fn trap(_: &mut Call<'_>) -> Result<Reply, Failure> {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

/// Panics with the message that follows.
pub(crate) fn panic(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let message = call.rest();
    panic!("{}", if message.is_empty() { "told to panic" } else { &message });
}

/// Ends through `wasi:cli/exit`, as a program would.
pub(crate) fn exit(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let code = call.number(0)?;
    std::process::exit(i32::try_from(code).unwrap_or(1))
}
