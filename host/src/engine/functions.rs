//! Compiled functions on disk, packed into one file: what a compile leaves for the next one that meets the same functions.
//!
//! A file is an index, sorted by the functions' keys (Cranelift's digest of all that a function is compiled from and for), and
//! their compiled forms. The index is checked as a whole when the file is opened, each form as it is read, so that a torn
//! or damaged file costs time and nothing else. A file is never changed: a new one takes its name, and whoever reads the old one
//! keeps it. Which file may be read for which component is `cache.rs`' business, what is in a form Cranelift's.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::Digest as _;

/// What a function is known by.
pub(super) type Key = [u8; 32];

const MAGIC: [u8; 8] = *b"stkfn\0\0\x01";
/// Magic, the number of records, how many times the file was written, the index's checksum.
const HEAD: usize = 8 + 4 + 4 + 32;
/// Key, place, length, when it was last used, checksum.
const RECORD: usize = 32 + 8 + 4 + 4 + 16;
/// The most functions of one compile, and of one file: what is said of them is in the host's memory. A Python agent has 15,000.
pub(super) const MAX_FUNCTIONS: usize = 200_000;
/// How much is copied at once, in bytes.
const COPIED: usize = 1 << 20;

/// The functions of one file.
#[derive(Debug)]
pub(super) struct Functions {
    file: File,
    /// Records as they stand in the file.
    index: Vec<u8>,
    /// The index's checksum: what the file is known by.
    sum: [u8; 32],
    /// How many times it was written, for telling what was not used for longest.
    written: u32,
    used: Vec<AtomicBool>,
    damaged: AtomicBool,
}

/// One function of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    key: Key,
    at: u64,
    length: u32,
    last_used: u32,
    check: [u8; 16],
}

impl Record {
    fn read(bytes: &[u8; RECORD]) -> Self {
        let mut rest = &bytes[..];
        Self {
            key: take(&mut rest),
            at: u64::from_le_bytes(take(&mut rest)),
            length: u32::from_le_bytes(take(&mut rest)),
            last_used: u32::from_le_bytes(take(&mut rest)),
            check: take(&mut rest),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.key);
        to.extend(self.at.to_le_bytes());
        to.extend(self.length.to_le_bytes());
        to.extend(self.last_used.to_le_bytes());
        to.extend(self.check);
    }

    fn end(&self) -> u64 {
        self.at.saturating_add(u64::from(self.length))
    }
}

/// The first `N` bytes, which are there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((first, after)) => {
            *rest = after;
            *first
        }
        None => [0; N],
    }
}

/// What a form is checked by. The key is part of it: a form that is another function's is no better than a damaged one.
fn check(key: &Key, form: &[u8]) -> [u8; 16] {
    let mut sum = sha2::Sha256::new();
    sum.update(key);
    sum.update(form);
    let sum: [u8; 32] = sum.finalize().into();
    take(&mut &sum[..])
}

impl Functions {
    /// Opens a file that [`write`] filled.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub(super) fn open(mut file: File) -> io::Result<Self> {
        let damaged = || io::Error::other("its index is damaged");
        // Not by its metadata: behind the fence nobody is asked for those.
        let length = file.seek(io::SeekFrom::End(0))?;
        file.rewind()?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        let mut rest = &head[..];
        let magic: [u8; 8] = take(&mut rest);
        let count = u32::from_le_bytes(take(&mut rest));
        let written = u32::from_le_bytes(take(&mut rest));
        let sum: [u8; 32] = take(&mut rest);
        let bytes = u64::from(count).saturating_mul(RECORD as u64);
        if magic != MAGIC || bytes > length {
            return Err(damaged());
        }
        let mut index = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_exact(&mut index)?;
        if sum != <[u8; 32]>::from(sha2::Sha256::digest(&index)) {
            return Err(damaged());
        }
        let used = (0..count).map(|_| AtomicBool::new(false)).collect();
        Ok(Self { file, index, sum, written, used, damaged: AtomicBool::new(false) })
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.index.as_chunks().0.iter().map(Record::read)
    }

    /// The compiled form of the function with this key; `None` if there is none, or a damaged one.
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (records, _) = self.index.as_chunks::<RECORD>();
        let number = records.binary_search_by(|record| record[..32].cmp(key)).ok()?;
        let form = self.form(&Record::read(records.get(number)?));
        match &form {
            Some(_) => self.used.get(number)?.store(true, Ordering::Relaxed),
            None => self.damaged.store(true, Ordering::Relaxed),
        }
        form
    }

    fn form(&self, record: &Record) -> Option<Vec<u8>> {
        let mut form = vec![0; record.length as usize];
        self.file.read_exact_at(&mut form, record.at).ok()?;
        (check(&record.key, &form) == record.check).then_some(form)
    }

    /// Whether something that was asked for was damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether anything in it is damaged. It reads all of it.
    pub(super) fn has_damaged(&self) -> bool {
        self.records().any(|record| self.form(&record).is_none())
    }

    /// What was asked for since the file was opened, and was there.
    pub(super) fn used(&self) -> Used {
        let bits = self.used.chunks(8).map(|eight| {
            let bit = |(at, used): (usize, &AtomicBool)| u8::from(used.load(Ordering::Relaxed)) << at;
            eight.iter().enumerate().map(bit).sum()
        });
        Used { of: self.sum, bits: bits.collect() }
    }

    /// The file, for telling when it was used.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Which functions of a file were used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// What the file is known by.
    pub(super) of: [u8; 32],
    /// A bit for each function, in the index's order.
    pub(super) bits: Vec<u8>,
}

impl Used {
    fn has(&self, number: usize) -> bool {
        self.bits.get(number / 8).is_some_and(|byte| byte >> (number % 8) & 1 == 1)
    }
}

/// A function that was compiled: its key, and where its form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) key: Key,
    pub(super) at: u64,
    pub(super) length: u32,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    /// The file's length.
    pub(super) bytes: u64,
    /// How many functions were damaged, and left out.
    pub(super) damaged: usize,
}

/// Writes a file of functions: those of `before`, of which these were `used`, and these new ones, whose forms are in `source`.
/// Of what is more than `bound` bytes, those go that were not used for longest. `checked`: what is damaged goes too.
///
/// # Errors
/// If it cannot be read or written.
pub(super) fn write(
    to: &mut File,
    before: Option<&Functions>,
    used: &Used,
    (new, source): (&[Compiled], &File),
    bound: u64,
    checked: bool,
) -> io::Result<Written> {
    let now = before.map_or(0, |before| before.written).saturating_add(1);
    let mut kept: Vec<(Record, &File)> = Vec::new();
    let mut damaged = 0;
    if let Some(before) = before {
        let same = used.of == before.sum;
        for (number, mut record) in before.records().enumerate() {
            if checked && before.form(&record).is_none() {
                damaged += 1;
                continue;
            }
            if same && used.has(number) {
                record.last_used = now;
            }
            kept.push((record, &before.file));
        }
    }
    let known = kept.len();
    for one in new {
        // They are sorted, and stay so up to here.
        if kept[..known].binary_search_by(|(record, _)| record.key.cmp(&one.key)).is_ok() {
            continue;
        }
        let mut form = vec![0; one.length as usize];
        source.read_exact_at(&mut form, one.at)?;
        let check = check(&one.key, &form);
        let record = Record { key: one.key, at: one.at, length: one.length, last_used: now, check };
        kept.push((record, source));
    }
    // The newest first; in the order of their places, so that they are copied in large pieces.
    kept.sort_by_key(|(record, _)| (std::cmp::Reverse(record.last_used), record.at));
    let mut bytes = HEAD as u64;
    let count = kept.iter().take(MAX_FUNCTIONS).take_while(|(record, _)| {
        bytes = bytes.saturating_add(RECORD as u64 + u64::from(record.length));
        bytes <= bound
    });
    let count = count.count();
    kept.truncate(count);

    let start = (HEAD + kept.len() * RECORD) as u64;
    let mut at = start;
    let mut index: Vec<Record> = Vec::with_capacity(kept.len());
    for (record, _) in &kept {
        index.push(Record { at, ..*record });
        at = at.saturating_add(u64::from(record.length));
    }
    index.sort_unstable_by_key(|record| record.key);
    index.dedup_by_key(|record| record.key);
    let mut head = Vec::with_capacity(HEAD + index.len() * RECORD);
    head.extend([0; HEAD]);
    for record in &index {
        record.write(&mut head);
    }
    let sum: [u8; 32] = sha2::Sha256::digest(&head[HEAD..]).into();
    let count = u32::try_from(index.len()).map_err(io::Error::other)?;
    let front = [&MAGIC[..], &count.to_le_bytes(), &now.to_le_bytes(), &sum].concat();
    head[..HEAD].copy_from_slice(&front);
    to.write_all(&head)?;
    // Where two were the same, there is a hole that nobody reads.
    to.seek(io::SeekFrom::Start(start))?;
    let mut rest = kept.as_slice();
    while let Some(((first, file), _)) = rest.split_first() {
        let adjoins =
            |pair: &[(Record, &File)]| pair[0].0.end() == pair[1].0.at && std::ptr::eq(pair[0].1, pair[1].1);
        let run = 1 + rest.windows(2).take_while(|pair| adjoins(pair)).count();
        let end = rest.get(run - 1).map_or(first.end(), |(last, _)| last.end());
        copy(file, first.at, end, to)?;
        rest = &rest[run..];
    }
    Ok(Written { bytes: at, damaged })
}

fn copy(from: &File, mut at: u64, end: u64, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; COPIED.min(usize::try_from(end.saturating_sub(at)).unwrap_or(COPIED))];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(COPIED).min(buffer.len());
        from.read_exact_at(&mut buffer[..length], at)?;
        to.write_all(&buffer[..length])?;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Key {
        crate::domain::Digest::of(&[number]).as_bytes().to_owned()
    }

    /// These forms, as a compile leaves them.
    fn compiled(forms: &[(u8, Vec<u8>)]) -> (Vec<Compiled>, File) {
        let mut file = tempfile::tempfile().expect("a file");
        let mut all = Vec::new();
        let mut at = 0;
        for (number, form) in forms {
            file.write_all(form).expect("written");
            let length = u32::try_from(form.len()).expect("a length");
            all.push(Compiled { key: key(*number), at, length });
            at += form.len() as u64;
        }
        (all, file)
    }

    fn written(before: Option<&Functions>, used: &Used, forms: &[(u8, Vec<u8>)], bound: u64) -> Functions {
        let (new, source) = compiled(forms);
        let mut file = tempfile::tempfile().expect("a file");
        let written = write(&mut file, before, used, (&new, &source), bound, false).expect("written");
        assert!(written.bytes <= bound.max(HEAD as u64));
        Functions::open(file).expect("it is sound")
    }

    const ROOM: u64 = 1 << 20;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let form = |number: u8| (number, vec![number; 1000]);
        let first = written(None, &Used::default(), &[form(1), form(2), form(3)], ROOM);
        assert!(first.get(&key(1)).is_some() && first.get(&key(3)).is_some());
        let used = first.used();
        // Room for three, and there are four.
        let room = (HEAD + 3 * (RECORD + 1000)) as u64;
        let second = written(Some(&first), &used, &[form(4)], room);
        let there = |functions: &Functions| [1, 2, 3, 4].map(|number| functions.get(&key(number)).is_some());
        assert_eq!(there(&second), [true, false, true, true]);
        // What another file's were used for says nothing of this one.
        let third = written(Some(&second), &used, &[], room);
        assert_eq!(there(&third), [true, false, true, true]);
        assert_eq!(written(Some(&third), &used, &[], 0).get(&key(1)), None);
    }

    #[test]
    fn what_is_damaged_is_never_given() {
        let forms: Vec<_> = (0..20).map(|number| (number, vec![number; 50])).collect();
        let functions = written(None, &Used::default(), &forms, ROOM);
        let mut whole = Vec::new();
        functions
            .file
            .try_clone()
            .and_then(|mut file| {
                file.rewind()?;
                file.read_to_end(&mut whole)
            })
            .expect("its bytes");
        for at in 0..whole.len() {
            let mut harmed = whole.clone();
            harmed[at] ^= 1;
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&harmed).expect("written");
            let Ok(opened) = Functions::open(file) else { continue };
            let given = forms.iter().filter(|(number, form)| {
                let got = opened.get(&key(*number));
                assert!(got.is_none() || got.as_ref() == Some(form));
                got.is_some()
            });
            let given = given.count();
            // Only how often it was written may differ without being noticed.
            assert!((12..16).contains(&at) || (given == forms.len() - 1 && opened.is_damaged()), "byte {at}");
            // It is mended by writing it again.
            let mut mended = tempfile::tempfile().expect("a file");
            let none = tempfile::tempfile().expect("a file");
            write(&mut mended, Some(&opened), &Used::default(), (&[], &none), ROOM, true).expect("written");
            let mended = Functions::open(mended).expect("it is sound");
            assert_eq!(mended.records().count(), given);
        }
        for length in [0, 10, HEAD, HEAD + 100, whole.len() / 2] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&whole[..length]).expect("written");
            assert!(Functions::open(file).is_err_and(|_| true) || length == whole.len() / 2);
        }
    }

    #[test]
    fn another_functions_form_is_a_damaged_one() {
        let (one, other) = (key(1), key(2));
        assert_ne!(check(&one, b"form"), check(&other, b"form"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_there(
            rounds in prop::collection::vec(prop::collection::btree_map(0..40_u8, prop::collection::vec(any::<u8>(), 0..300), 0..20), 1..5),
        ) {
            let mut expected: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            let mut functions: Option<Functions> = None;
            for round in rounds {
                let forms: Vec<_> = round.into_iter().collect();
                let next = written(functions.as_ref(), &Used::default(), &forms, ROOM);
                for (number, form) in forms {
                    // A key stands for one form: the first stays.
                    expected.entry(number).or_insert(form);
                }
                for number in 0..40 {
                    prop_assert_eq!(next.get(&key(number)), expected.get(&number).cloned());
                }
                functions = Some(next);
            }
        }
    }
}
