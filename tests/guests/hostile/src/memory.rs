//! Behaviours that take memory until they are refused, or work through as much as they got.
//!
//! Owns no state: what is allocated dies with the sandbox.
#![allow(clippy::unnecessary_wraps)]

use std::hint::black_box;

use stockade_sdk::{Failure, Reply, json};

use crate::Call;

const MIB: usize = 1 << 20;

/// Allocates a mebibyte at a time until refused, then ends as any Rust program does: it aborts.
pub(crate) fn bomb(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; MIB]));
    }
}

/// Grows by one page at a time until refused, takes the refusal well and answers.
pub(crate) fn grow(_: &mut Call<'_>) -> Result<Reply, Failure> {
    #[cfg(target_arch = "wasm32")]
    while core::arch::wasm32::memory_grow::<0>(1) != usize::MAX {}
    #[cfg(target_arch = "wasm32")]
    let pages = core::arch::wasm32::memory_size::<0>();
    #[cfg(not(target_arch = "wasm32"))]
    let pages = 0;
    Ok(Reply::text(format!("refused at {pages} pages")).with_data(json!({ "pages": pages })))
}

/// Holds so many mebibytes, written through, and answers: the receipt's peak must show them.
pub(crate) fn hold(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let mebibytes = usize::try_from(call.number(1)?).unwrap_or(usize::MAX);
    let held = black_box(vec![1_u8; mebibytes.saturating_mul(MIB)]);
    Ok(Reply::text(format!("held {} bytes", held.len())))
}

/// Fills so many mebibytes so many times with `memory.fill`, one instruction each.
pub(crate) fn fill(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let mebibytes = usize::try_from(call.number(16)?).unwrap_or(usize::MAX);
    let times = call.number(1000)?;
    let mut held = vec![0_u8; mebibytes.saturating_mul(MIB)];
    for time in 0..times {
        // The low byte is what is wanted of the round's number.
        black_box(&mut held).fill(time.to_le_bytes()[0]);
    }
    Ok(Reply::text(format!("filled {mebibytes} MiB {times} times")))
}
