//! Behaviours that make the host work, over and over, for next to no fuel of their own: each makes
//! as few instructions as it can around the dearest call that it knows.
//!
//! Owns no state. All of them go on until the host ends them, but for [`nested_data`].
#![allow(clippy::unnecessary_wraps)]

use std::{hint::black_box, mem::MaybeUninit};

use stockade_sdk::{Failure, Reply};
use wasip2::{
    cli::{environment, stdin, stdout, terminal_stdout},
    clocks::{monotonic_clock, wall_clock},
    filesystem::preopens,
    io::poll::Pollable,
    random,
    sockets::{instance_network, ip_name_lookup, network, tcp_create_socket},
};

use crate::Call;

/// Longer than any call lives, in nanoseconds.
const NEVER: u64 = 1_000_000_000_000_000;

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "wasi:io/poll@0.2.4")]
unsafe extern "C" {
    /// `poll` as it is below its binding, which would copy the list each time.
    #[link_name = "poll"]
    fn poll_handles(list: *const u32, length: usize, ready: *mut [usize; 2]);
}

/// Waits for these handles, of which one is ready, without end.
fn poll_for_ever(handles: &[u32]) -> ! {
    loop {
        let mut ready = MaybeUninit::<[usize; 2]>::uninit();
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the list lives through the call; the host fills in where it put its answer, a list
        // that it took from this guest's allocator.
        unsafe {
            poll_handles(handles.as_ptr(), handles.len(), ready.as_mut_ptr());
            let [list, length] = ready.assume_init();
            drop(Vec::from_raw_parts(list as *mut u32, length, length));
        }
        black_box((handles, &mut ready));
    }
}

/// Waits for one handle that is always ready, named so many times in one list.
pub(crate) fn poll_copies(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let stream = stdout::get_stdout();
    let ready = stream.subscribe();
    let copies = size(call, 1_000_000)?;
    poll_for_ever(&vec![ready.handle(); copies])
}

/// Waits for so many timers that never end, and one handle that is always ready.
pub(crate) fn poll_timers(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let stream = stdout::get_stdout();
    let ready = stream.subscribe();
    let timers: Vec<Pollable> =
        (0..call.number(450)?).map(|_| monotonic_clock::subscribe_duration(NEVER)).collect();
    let handles: Vec<u32> = timers.iter().chain([&ready]).map(Pollable::handle).collect();
    poll_for_ever(&handles)
}

/// Makes a timer that has ended, waits for it, and drops it.
pub(crate) fn timers(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        monotonic_clock::subscribe_duration(0).block();
    }
}

/// Waits for one handle that is always ready.
pub(crate) fn block(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let stream = stdout::get_stdout();
    let ready = stream.subscribe();
    loop {
        ready.block();
        black_box(ready.ready());
    }
}

/// Resolves a name of so many bytes, which nobody may.
pub(crate) fn resolve(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let name = "n".repeat(size(call, 15 << 20)?);
    let network = instance_network::instance_network();
    loop {
        drop(black_box(ip_name_lookup::resolve_addresses(&network, &name)));
    }
}

/// Writes so many bytes of lines of one letter to standard output in each host call, whatever the
/// stream permits.
pub(crate) fn write(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let lines = "x\n".repeat(size(call, 16 << 20)? / 2);
    let stream = stdout::get_stdout();
    loop {
        drop(black_box(stream.write(lines.as_bytes())));
    }
}

/// Prints so many empty lines to standard output, 4 KiB at a time, and answers.
pub(crate) fn write_lines(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let lines = call.number(8_000_000)?;
    let block = [b'\n'; 4096];
    let stream = stdout::get_stdout();
    for _ in 0..lines / 4096 {
        if stream.blocking_write_and_flush(&block).is_err() {
            return Err(Failure::Unavailable("standard output takes no more".to_owned()));
        }
    }
    Ok(Reply::text(format!("wrote {lines} lines")))
}

/// Writes so many zeroes to standard output in each host call.
pub(crate) fn write_zeroes(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let bytes = call.number(4096)?;
    let stream = stdout::get_stdout();
    loop {
        drop(black_box(stream.write_zeroes(bytes)));
    }
}

/// Asks what standard output takes, and flushes it.
pub(crate) fn flush(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let stream = stdout::get_stdout();
    loop {
        drop(black_box((stream.check_write(), stream.blocking_flush())));
    }
}

/// Reads and skips standard input, and moves it to standard output.
pub(crate) fn splice(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let (input, output) = (stdin::get_stdin(), stdout::get_stdout());
    loop {
        drop(black_box((input.read(1 << 20), input.skip(1 << 20), output.splice(&input, 1 << 20))));
    }
}

/// Asks for random numbers.
pub(crate) fn random_numbers(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        black_box((random::random::get_random_u64(), random::insecure::get_insecure_random_u64()));
    }
}

/// Asks for so many random bytes in each host call.
pub(crate) fn random_bytes(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let bytes = call.number(65_536)?;
    loop {
        drop(black_box(random::random::get_random_bytes(bytes)));
    }
}

/// Reads both clocks.
pub(crate) fn clocks(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        black_box((monotonic_clock::now(), monotonic_clock::resolution()));
        black_box((wall_clock::now(), wall_clock::resolution()));
    }
}

/// Asks for everything that a program is told at its start.
pub(crate) fn start_up(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        drop(black_box((environment::get_environment(), environment::get_arguments())));
        drop(black_box((environment::initial_cwd(), preopens::get_directories())));
        drop(black_box((terminal_stdout::get_terminal_stdout(), stdin::get_stdin())));
    }
}

/// Makes TCP sockets and drops them.
pub(crate) fn make_sockets(_: &mut Call<'_>) -> Result<Reply, Failure> {
    loop {
        drop(black_box(tcp_create_socket::create_tcp_socket(network::IpAddressFamily::Ipv4)));
    }
}

/// Writes messages of so many bytes to its log.
pub(crate) fn log_messages(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let message = "x\n".repeat(size(call, 65_536)? / 2);
    loop {
        stockade_sdk::log::info!("{message}");
    }
}

/// Answers with `data` nested so deep.
pub(crate) fn nested_data(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let depth = size(call, 10_000)?;
    let mut reply = Reply::text("the data beside this is deep");
    reply.data = Some("[".repeat(depth) + &"]".repeat(depth));
    Ok(reply)
}

/// Asks for a gigabyte, takes the refusal well, and then divides by zero.
pub(crate) fn refused_then_traps(call: &mut Call<'_>) -> Result<Reply, Failure> {
    #[cfg(target_arch = "wasm32")]
    let refused = core::arch::wasm32::memory_grow::<0>(16_384) == usize::MAX;
    #[cfg(not(target_arch = "wasm32"))]
    let refused = true;
    if !refused {
        return Err(Failure::Failed("a gigabyte was granted".to_owned()));
    }
    crate::compute::trap(call)
}

/// The next word as a length, or `default` where there is none.
fn size(call: &mut Call<'_>, default: u64) -> Result<usize, Failure> {
    Ok(usize::try_from(call.number(default)?).unwrap_or(usize::MAX))
}
