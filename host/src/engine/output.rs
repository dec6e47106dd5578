//! What compiling gives, on its way from the compiler to whoever takes it in: a file in memory
//! with the code's length, the code, and the lines.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{lines, names};

/// The code's length comes first.
const HEAD: u64 = 8;

/// Compiles a component and writes what that gives.
///
/// # Errors
/// wasmtime's refusal, or that it could not be written.
pub(super) fn write(engine: &wasmtime::Engine, component: &[u8], mut to: impl Write) -> wasmtime::Result<()> {
    let code = engine.precompile_component(&names::without_long(component))?;
    to.write_all(&(code.len() as u64).to_le_bytes()).map_err(Unwritten)?;
    to.write_all(&code).map_err(Unwritten)?;
    drop(code);
    to.write_all(&lines::extract(component)).map_err(Unwritten)?;
    to.flush().map_err(Unwritten)?;
    Ok(())
}

/// The component is not at fault: what it was compiled to could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot give the compiled code: {0}")]
pub(super) struct Unwritten(io::Error);

/// What was written.
pub(super) struct Output {
    file: File,
    code: u64,
}

impl Output {
    /// Takes a file that [`write`] filled.
    pub(super) fn open(mut file: File) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut head = [0; HEAD as usize];
        file.read_exact(&mut head)?;
        Ok(Self { file, code: u64::from_le_bytes(head) })
    }

    /// The compiled code.
    pub(super) fn code(&mut self) -> io::Result<impl Read> {
        self.file.seek(SeekFrom::Start(HEAD))?;
        Ok((&self.file).take(self.code))
    }

    /// The lines; nothing where the component has no debug information.
    pub(super) fn lines(&mut self) -> io::Result<impl Read> {
        self.file.seek(SeekFrom::Start(HEAD.saturating_add(self.code)))?;
        Ok(&self.file)
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
