//! Which source line each instruction of a component came from, where its author left debug
//! information in it: read out of that as the component is compiled, and looked up as it traps.
//!
//! wasmtime could do this at every trap, on the guests' threads and unmetered, at a hundred
//! thousand times the cost of what trapped: debug information is a stranger's data, too. Here it
//! is read once, within the compiler's bounds, to a file of sorted records.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use wasmparser::{Parser, Payload};

/// A record: the first and the last offset in the component, where in the names the file's name
/// is, and the line. Four little-endian numbers.
const RECORD: usize = 16;
/// The most records of one component, about 16 MB; a large program in a debug build has a tenth.
const MAX_RECORDS: usize = 1_000_000;
/// The longest name of a file.
const MAX_NAME: usize = 300;

/// A place in an author's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: u32,
}

/// Reads what debug information there is. Empty if there is none, or none that makes sense.
pub(super) fn extract(component: &[u8]) -> Vec<u8> {
    let mut table = Table::default();
    let mut modules: Vec<Module<'_>> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => modules.push(Module::default()),
            Ok(Payload::CodeSectionStart { range, .. }) => {
                if let Some(module) = modules.last_mut() {
                    module.code_at = range.start as u64;
                }
            }
            Ok(Payload::CustomSection(section)) if section.name().starts_with(".debug_") => {
                if let Some(module) = modules.last_mut() {
                    module.sections.insert(section.name(), section.data());
                }
            }
            Ok(Payload::End(_)) => {
                if let Some(module) = modules.pop().filter(|module| !module.sections.is_empty()) {
                    // What was read before an error is sound.
                    let _ = table.add(&module);
                }
            }
            Ok(_) => {}
            // The compiler has its own word about that.
            Err(_) => break,
        }
    }
    table.finish()
}

/// A core module's debug information.
#[derive(Default)]
struct Module<'a> {
    /// Where its code is in the component: its debug information counts from there.
    code_at: u64,
    sections: HashMap<&'a str, &'a [u8]>,
}

#[derive(Default)]
struct Table {
    records: Vec<[u32; 4]>,
    names: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Table {
    fn add(&mut self, module: &Module<'_>) -> Result<(), addr2line::gimli::Error> {
        let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
            let data = module.sections.get(id.name()).copied().unwrap_or_default();
            Ok(EndianSlice::new(data, LittleEndian))
        };
        let context = addr2line::Context::from_dwarf(Dwarf::load(section)?)?;
        for (address, size, location) in context.find_location_range(0, u64::from(u32::MAX))? {
            let (Some(file), Some(line)) = (location.file, location.line) else { continue };
            let first = address.saturating_add(module.code_at);
            let last = first.saturating_add(size.saturating_sub(1));
            let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else { continue };
            if self.records.len() >= MAX_RECORDS {
                break;
            }
            let file = self.name(file);
            match self.records.last_mut() {
                Some(before) if before[1].checked_add(1) == Some(first) && before[2..] == [file, line] => {
                    before[1] = last;
                }
                _ => self.records.push([first, last, file, line]),
            }
        }
        Ok(())
    }

    /// Where the name is in the names, after it was added there if need be.
    fn name(&mut self, name: &str) -> u32 {
        if let Some(at) = self.known.get(name) {
            return *at;
        }
        let at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        // The end of a path says more than its beginning.
        let mut start = name.len().saturating_sub(MAX_NAME);
        while !name.is_char_boundary(start) {
            start += 1;
        }
        let shown = &name[start..];
        self.names.extend(u16::try_from(shown.len()).unwrap_or(0).to_le_bytes());
        self.names.extend(shown.as_bytes());
        self.known.insert(name.to_owned(), at);
        at
    }

    /// The number of records, the records, the names.
    fn finish(mut self) -> Vec<u8> {
        if self.records.is_empty() {
            return Vec::new();
        }
        self.records.sort_unstable();
        let count = u32::try_from(self.records.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(4 + self.records.len() * RECORD + self.names.len());
        bytes.extend(count.to_le_bytes());
        bytes.extend(self.records.iter().flatten().flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.names);
        bytes
    }
}

/// The lines of one component, in their file.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    file: Arc<File>,
    count: u32,
}

impl Lines {
    /// Takes a file that [`extract`] filled.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let mut count = [0; 4];
        file.read_exact_at(&mut count, 0)?;
        Ok(Self { file: Arc::new(file), count: u32::from_le_bytes(count) })
    }

    /// What the instruction at this offset in the component came from. A few dozen small reads.
    pub(super) fn find(&self, offset: u32) -> Option<Place> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.record(middle)?[0] <= offset { low = middle + 1 } else { high = middle }
        }
        let [_, last, name, line] = self.record(low.checked_sub(1)?)?;
        if offset > last {
            return None;
        }
        let at = 4 + u64::from(self.count) * RECORD as u64 + u64::from(name);
        let mut length = [0; 2];
        self.file.read_exact_at(&mut length, at).ok()?;
        let mut text = vec![0; usize::from(u16::from_le_bytes(length)).min(MAX_NAME)];
        self.file.read_exact_at(&mut text, at + 2).ok()?;
        Some(Place { file: String::from_utf8_lossy(&text).into_owned(), line })
    }

    fn record(&self, number: u32) -> Option<[u32; 4]> {
        let mut bytes = [0; RECORD];
        self.file.read_exact_at(&mut bytes, 4 + u64::from(number) * RECORD as u64).ok()?;
        let (numbers, _) = bytes.as_chunks::<4>();
        Some([0, 1, 2, 3].map(|at| numbers.get(at).map_or(0, |number| u32::from_le_bytes(*number))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_place_is_found_by_any_offset_in_its_range_and_by_no_other() {
        let mut table = Table::default();
        let (a, b) = (table.name("src/a.rs"), table.name("src/b.rs"));
        table.records = vec![[50, 59, b, 7], [10, 19, a, 1], [20, 29, a, 2]];
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&table.finish()).expect("written");
        let lines = Lines::open(file).expect("lines");
        let place = |file: &str, line| Some(Place { file: file.to_owned(), line });
        for (offset, expected) in [
            (9, None),
            (10, place("src/a.rs", 1)),
            (19, place("src/a.rs", 1)),
            (20, place("src/a.rs", 2)),
            (30, None),
            (55, place("src/b.rs", 7)),
            (60, None),
        ] {
            assert_eq!(lines.find(offset), expected, "{offset}");
        }
    }

    #[test]
    fn nonsense_has_no_lines() {
        assert!(extract(b"").is_empty());
        assert!(extract(b"\0asm\x0d\0\x01\0garbage").is_empty());
        // A module whose debug information is not any.
        let module = b"\0asm\x01\0\0\0\0\x10\x0b.debug_info\xff\xff\xff\xff";
        assert!(extract(module).is_empty());
    }
}
