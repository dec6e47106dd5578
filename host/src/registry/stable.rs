//! Reading a file that somebody may be writing: complete and at rest, or what is there in the end.
//!
//! Holds nothing. It does not judge what it read, but for whether a component is cut off.

use std::fs::Metadata;
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::storage::files::{is_same, open_file};

/// How long a file that is being written is waited for, in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first wait; each next one is twice as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(160);
/// A file that nobody touched for so long is not being written.
const AT_REST: Duration = Duration::from_secs(10);

/// What one look at a file gave.
struct Look {
    bytes: Vec<u8>,
    /// Whether it is worth looking again.
    settled: bool,
}

/// Reads a file of at most `limit` bytes, and one more, so that it is known to be too large. A
/// file that changes as it is read, and a component that is cut off, are read again until they
/// are whole; after a while this returns what there is, so that whoever loads it says what is
/// wrong.
///
/// # Errors
/// If it is not there, not a file, or cannot be read.
pub async fn read(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    read_within(path, limit, PATIENCE).await
}

async fn read_within(path: &Path, limit: u64, patience: Duration) -> std::io::Result<Vec<u8>> {
    let began = tokio::time::Instant::now();
    let mut wait = FIRST_WAIT;
    let mut seen = false;
    loop {
        let file = path.to_owned();
        let look = tokio::task::spawn_blocking(move || look(&file, limit)).await;
        let look = look.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let last = began.elapsed() >= patience;
        match look {
            Ok(look) if look.settled || last => return Ok(look.bytes),
            // It is being replaced: a moment ago it was here.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound || !seen || last => return Err(error),
            Ok(_) | Err(_) => seen = true,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What must be the same before and after reading.
fn state(metadata: &Metadata) -> (u64, u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn look(path: &Path, limit: u64) -> std::io::Result<Look> {
    let mut file = open_file(path)?;
    let before = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.len().min(limit)).unwrap_or(0) + 1);
    (&mut file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit || rests_since_long(&before) {
        return Ok(Look { bytes, settled: true });
    }
    let settled = !is_cut_off(&bytes)
        && bytes.len() as u64 == before.len()
        // Read again: sizes and times alone are too coarse.
        && file.rewind().and_then(|()| is_same(&mut file, &bytes))?
        && std::fs::metadata(path).is_ok_and(|after| state(&after) == state(&before));
    Ok(Look { bytes, settled })
}

/// Whether nobody has touched it for a while. The time of change cannot be set, as that of
/// modification can.
fn rests_since_long(metadata: &Metadata) -> bool {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return false };
    let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(u64::MAX));
    now.checked_sub(changed).is_some_and(|age| age > AT_REST)
}

/// Whether these are the first bytes of a WebAssembly binary and not the last: each section says
/// how long it is.
fn is_cut_off(bytes: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\0asm";
    const HEADER: usize = 8;
    if bytes.len() < HEADER {
        return MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]);
    }
    if !bytes.starts_with(MAGIC) {
        return false;
    }
    let mut left = &bytes[HEADER..];
    while let Some((_id, rest)) = left.split_first() {
        match size(rest) {
            Size::Is(size, rest) => match rest.get(size..) {
                Some(next) => left = next,
                None => return true,
            },
            Size::CutOff => return true,
            // What comes is not a section: it is wrong, and waiting does not help.
            Size::Wrong => return false,
        }
    }
    false
}

/// A section's size, and what comes after it.
enum Size<'a> {
    Is(usize, &'a [u8]),
    CutOff,
    Wrong,
}

/// Reads a number of 32 bits as WebAssembly writes it: seven bits a byte, the lowest first.
fn size(bytes: &[u8]) -> Size<'_> {
    let mut value = 0u64;
    for index in 0..5 {
        let Some(byte) = bytes.get(index) else { return Size::CutOff };
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let Ok(value) = usize::try_from(value) else { return Size::Wrong };
            return Size::Is(value, &bytes[index + 1..]);
        }
    }
    Size::Wrong
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// Longer than any machine is busy.
    const LONG: Duration = Duration::from_secs(60);

    /// The header of a component, and custom sections of these sizes.
    fn component(sections: &[usize]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for size in sections {
            bytes.push(0);
            let mut left = *size;
            while left >= 0x80 {
                bytes.push((left as u8 & 0x7f) | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
            bytes.extend(std::iter::repeat_n(7, *size));
        }
        bytes
    }

    #[test]
    fn a_component_is_cut_off_wherever_a_section_does_not_end() {
        let whole = component(&[3, 300, 0]);
        let ends = [8, 13, 316, 318];
        assert_eq!(whole.len(), 318);
        for end in 0..=whole.len() {
            assert_eq!(is_cut_off(&whole[..end]), !ends.contains(&end), "{end}");
        }
        for other in [&b"not wasm"[..], b"(component)", b"x", b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff\x01"]
        {
            assert!(!is_cut_off(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_component_that_is_written_in_pieces_is_read_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wasm");
        let whole = component(&[100, 20_000, 5]);
        fs::write(&path, &whole[..50]).expect("the first piece");
        let writer = std::thread::spawn({
            let (path, whole) = (path.clone(), whole.clone());
            move || {
                let mut file = fs::OpenOptions::new().append(true).open(path).expect("the file");
                for piece in whole[50..].chunks(4000) {
                    file.write_all(piece).expect("a piece");
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
        });
        assert_eq!(read_within(&path, 1 << 20, LONG).await.expect("it is read"), whole);
        writer.join().expect("the writer ends");
    }

    #[tokio::test]
    async fn what_stays_cut_off_is_returned_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wasm");
        let whole = component(&[100]);
        fs::write(&path, &whole[..50]).expect("a file");
        assert_eq!(read(&path, 1 << 20).await.expect("it is read"), whole[..50]);
    }

    #[tokio::test]
    async fn a_file_that_never_rests_is_returned_in_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        fs::write(&path, "x").expect("a file");
        let writing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let writer = std::thread::spawn({
            let (path, writing) = (path.clone(), writing.clone());
            move || {
                let mut file = fs::OpenOptions::new().append(true).open(path).expect("the file");
                while writing.load(std::sync::atomic::Ordering::SeqCst) {
                    file.write_all(b"x").expect("a byte");
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        assert!(!read(&path, 1 << 30).await.expect("it is read").is_empty());
        writing.store(false, std::sync::atomic::Ordering::SeqCst);
        writer.join().expect("the writer ends");
    }

    #[tokio::test]
    async fn too_large_is_known_without_reading_it_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wasm");
        fs::write(&path, component(&[5000])).expect("a file");
        assert_eq!(read(&path, 100).await.expect("it is read").len(), 101);
        assert_eq!(read(&path, u64::MAX).await.expect("it is read").len(), component(&[5000]).len());
    }

    #[tokio::test]
    async fn what_is_no_file_is_an_error_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = read(&folder.path().join("a.wasm"), 100).await.expect_err("it is not there");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        assert!(read(folder.path(), 100).await.expect_err("a folder").to_string().contains("not a file"));
    }

    #[tokio::test]
    async fn a_file_that_is_a_pipe_a_moment_later_blocks_nobody() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (path, aside) = (at("a.wasm"), at("aside"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &aside, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        fs::write(&path, component(&[100])).expect("a file");
        // The two change places all the time.
        let stop = AtomicBool::new(false);
        let swap = || {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &path, rustix::fs::CWD, &aside, flags)
        };
        let read_all = || {
            let (mut files, mut pipes) = (0, 0);
            while files < 100 || pipes < 100 {
                match look(&path, 1 << 20) {
                    Ok(_) => files += 1,
                    Err(error) => {
                        assert!(error.to_string().contains("not a file"), "{error}");
                        pipes += 1;
                    }
                }
            }
            stop.store(true, Ordering::SeqCst);
        };
        let began = std::time::Instant::now();
        let blocked = std::thread::scope(|scope| {
            scope.spawn(read_all);
            while !stop.load(Ordering::SeqCst) && began.elapsed() < LONG {
                swap().expect("they change places");
            }
            let blocked = !stop.load(Ordering::SeqCst);
            // Whoever waits for a writer has one, so that the test can end.
            let writers =
                [&path, &aside].map(|path| fs::OpenOptions::new().read(true).write(true).open(path));
            drop(writers);
            blocked
        });
        assert!(!blocked, "it waited for somebody to write to a pipe");
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_meanwhile_is_read_as_the_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, next) = (folder.path().join("a.wasm"), folder.path().join("next"));
        fs::write(&path, &component(&[100])[..30]).expect("half a file");
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(40));
                fs::remove_file(&path).expect("it goes");
                std::thread::sleep(Duration::from_millis(40));
                fs::write(&next, component(&[7])).expect("the new one");
                fs::rename(&next, &path).expect("it comes");
            }
        });
        assert_eq!(read_within(&path, 1 << 20, LONG).await.expect("it is read"), component(&[7]));
        writer.join().expect("the writer ends");
    }
}
