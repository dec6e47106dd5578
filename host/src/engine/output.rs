//! What compiling gives, on its way from the compiler to the host: a file in memory with the compiled forms of functions
//! that were new, the code, the lines, and at its end what is where.
//!
//! A compiler that a hostile component took over may write anything here: nothing is believed but for lengths that fit.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::functions::{Compiled, MAX_FUNCTIONS, Used};
use super::incremental::{Incremental, Known, Summary, Unsound};
use super::{lines, names, settings};

/// Four lengths and two numbers, what the used functions are of, and what was damaged.
const END: usize = 6 * 8 + 32 + 1;
/// A new function: its key, its place, its length.
const FUNCTION: usize = 32 + 8 + 4;

/// Why there is no compiled code.
#[derive(Debug)]
pub(super) enum Failed {
    /// The compiler cannot be set up.
    NoCompiler(wasmtime::Error),
    /// It refuses the component, or gave up.
    Refused(wasmtime::Error),
    /// What it gave could not be written: the component is not at fault.
    Unwritten(io::Error),
}

/// Compiles a component, with what is `known` of its functions, and writes what that gives; new functions up to `room` bytes.
///
/// # Errors
/// [`Failed`] says whose fault it is.
pub(super) fn write(component: &[u8], known: Known, room: u64, to: &Arc<File>) -> Result<(), Failed> {
    let functions = Arc::new(Incremental::new(known, to.clone(), room));
    let engine = settings::compiling()
        .enable_incremental_compilation(functions.clone())
        .and_then(|settings| wasmtime::Engine::new(settings))
        .map_err(Failed::NoCompiler)?;
    let (code, lines) = std::thread::scope(|scope| {
        // Much of the compiling is one thread's work.
        let lines = scope.spawn(|| lines::extract(component));
        let code = engine.precompile_component(&names::without_long(component)).map_err(Failed::Refused);
        // Without its lines a component runs as well.
        (code, lines.join().unwrap_or_default())
    });
    finish(&functions.summary(), &code?, &lines, to).map_err(Failed::Unwritten)
}

pub(super) fn finish(summary: &Summary, code: &[u8], lines: &[u8], mut to: &File) -> io::Result<()> {
    to.seek(SeekFrom::Start(summary.end))?;
    to.write_all(code)?;
    to.write_all(lines)?;
    let mut rest = Vec::with_capacity(summary.new.len() * FUNCTION + summary.used.bits.len() + END);
    for one in &summary.new {
        rest.extend(one.key);
        rest.extend(one.at.to_le_bytes());
        rest.extend(one.length.to_le_bytes());
    }
    rest.extend(&summary.used.bits);
    let (code, lines) = (code.len() as u64, lines.len() as u64);
    let (new, used) = (summary.new.len() as u64, summary.used.bits.len() as u64);
    for number in [summary.end, code, lines, new, used, summary.found] {
        rest.extend(number.to_le_bytes());
    }
    rest.extend(summary.used.of);
    rest.push(u8::from(summary.unsound.own) | u8::from(summary.unsound.shared) << 1);
    to.write_all(&rest)
}

/// What was written.
pub(super) struct Output {
    file: File,
    code: (u64, u64),
    lines: (u64, u64),
    new: (u64, u64),
    used: (u64, u64),
    found: u64,
    of: [u8; 32],
    unsound: Unsound,
}

impl Output {
    /// Takes a file that [`write`] filled.
    ///
    /// # Errors
    /// If it cannot be read, or its lengths do not fit.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let unfit = || io::Error::other("what the compiler gave is cut off");
        let length = file.metadata()?.len();
        let mut end = [0; END];
        let rest = length.checked_sub(END as u64).ok_or_else(unfit)?;
        file.read_exact_at(&mut end, rest)?;
        let (numbers, _) = end.as_chunks::<8>();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let part = |start: u64, length: u64| Some((start, start.checked_add(length)?));
        let parts = || {
            let code = part(number(0), number(1))?;
            let lines = part(code.1, number(2))?;
            let new = part(lines.1, number(3).checked_mul(FUNCTION as u64)?)?;
            let used = part(new.1, number(4))?;
            (used.1 == rest).then_some((code, lines, new, used))
        };
        let (code, lines, new, used) = parts().ok_or_else(unfit)?;
        let mut of = [0; 32];
        of.copy_from_slice(&end[48..80]);
        let unsound = Unsound { own: end[80] & 1 != 0, shared: end[80] & 2 != 0 };
        Ok(Self { file, code, lines, new, used, found: number(5), of, unsound })
    }

    fn part(&self, (start, end): (u64, u64)) -> io::Result<impl Read> {
        (&self.file).seek(SeekFrom::Start(start))?;
        Ok((&self.file).take(end - start))
    }

    /// The compiled code.
    pub(super) fn code(&self) -> io::Result<impl Read> {
        self.part(self.code)
    }

    /// The lines; nothing where the component has no debug information.
    pub(super) fn lines(&self) -> io::Result<impl Read> {
        self.part(self.lines)
    }

    /// The functions that are new, where their forms are, and which were used of those that were known. The first whose form
    /// does not fit ends the list.
    pub(super) fn functions(&self) -> io::Result<(Vec<Compiled>, Used, &File)> {
        let mut bytes = Vec::new();
        self.part(self.new)?.take((MAX_FUNCTIONS * FUNCTION) as u64).read_to_end(&mut bytes)?;
        let (functions, _) = bytes.as_chunks::<FUNCTION>();
        // No two of them share their bytes: together they are as long as the forms at the most.
        let mut left = self.code.0;
        let read = |bytes: &[u8; FUNCTION]| {
            let (key, rest) = bytes.split_first_chunk()?;
            let (at, rest) = rest.split_first_chunk()?;
            let (length, _) = rest.split_first_chunk()?;
            let (at, length) = (u64::from_le_bytes(*at), u32::from_le_bytes(*length));
            left = left.checked_sub(u64::from(length))?;
            (at.checked_add(u64::from(length))? <= self.code.0).then_some(Compiled { key: *key, at, length })
        };
        let new = functions.iter().map_while(read).collect();
        let mut bits = Vec::new();
        self.part(self.used)?.take(MAX_FUNCTIONS.div_ceil(8) as u64).read_to_end(&mut bits)?;
        Ok((new, Used { of: self.of, bits }, &self.file))
    }

    /// How many functions were compiled and kept, and how many were known, as the compiler says.
    pub(super) fn counts(&self) -> (u64, u64) {
        ((self.new.1 - self.new.0) / FUNCTION as u64, self.found)
    }

    /// Which files of functions were damaged, as the compiler says.
    pub(super) fn unsound(&self) -> Unsound {
        self.unsound
    }
}

/// A file of nobody else's, in memory where the system has such files.
pub(super) fn scratch() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{MemfdFlags, memfd_create};
        Ok(File::from(memfd_create("compiled", MemfdFlags::CLOEXEC)?))
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn what_does_not_fit_is_not_believed() {
        let summary = Summary {
            new: vec![
                Compiled { key: [1; 32], at: 0, length: 4 },
                Compiled { key: [2; 32], at: 3, length: 4 },
            ],
            end: 4,
            found: 7,
            used: Used { of: [3; 32], bits: vec![5] },
            unsound: Unsound { own: false, shared: true },
        };
        let whole = file(b"form");
        finish(&summary, b"the code", b"", &whole).expect("written");
        let output = Output::open(whole.try_clone().expect("a file")).expect("it fits");
        let mut code = Vec::new();
        output.code().and_then(|mut code_from| code_from.read_to_end(&mut code)).expect("code");
        assert_eq!(code, b"the code");
        // One that would lie in the code, and share bytes with the first.
        let (new, used, _) = output.functions().expect("functions");
        assert_eq!((new.as_slice(), used), (&summary.new[..1], summary.used.clone()));
        assert_eq!((output.counts(), output.unsound()), ((2, 7), summary.unsound));

        let mut bytes = Vec::new();
        (&whole).rewind().and_then(|()| (&whole).read_to_end(&mut bytes)).expect("its bytes");
        for length in 0..bytes.len() {
            assert!(Output::open(file(&bytes[..length])).is_err(), "{length}");
        }
        // Lengths that come round to the right sum.
        let at = bytes.len() - END;
        bytes[at..at + 16].copy_from_slice(&[0xff; 16]);
        assert!(Output::open(file(&bytes)).is_err());
    }
}
