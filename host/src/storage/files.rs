//! Files and folders: opening what others may replace, private folders, atomic writes.
//!
//! Holds nothing. A path is judged by what was opened, not by what was there a moment before: what is a
//! file when it is looked at may be a pipe when it is opened, and opening a pipe waits for its writer.
//! Everything here blocks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// What the name of a file begins with while it is written. One that is found at a start is what a
/// crash left behind.
pub const WRITING: &str = ".writing-";

/// Opens a regular file to read it. Never waits: pipes, terminals and devices are refused.
///
/// # Errors
/// If it cannot be opened, or is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        Ok(file)
    } else if kind.is_dir() {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder and not a file"))
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

/// Reads a file of at most `limit` bytes, and one more, so that it is known to be too large.
///
/// # Errors
/// As [`open_file`], or if it cannot be read.
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether what is left to read of `source` is these bytes and no others.
///
/// # Errors
/// If it cannot be read.
pub fn is_same(source: &mut impl Read, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(left.is_empty()),
            Ok(count) => match left.strip_prefix(&buffer[..count]) {
                Some(rest) => left = rest,
                None => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A new file in `folder` with mode 600 and a name that begins with [`WRITING`]. It is removed when it is
/// dropped, and renamed to its place with `persist`.
///
/// # Errors
/// If it cannot be made.
pub fn writing_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(WRITING).tempfile_in(folder)
}

/// Puts these bytes at `path`, in the place of what is there. Whoever opens `path` sees the old file or
/// the new one, after a crash too; it is on disk when this returns.
///
/// # Errors
/// If it cannot be written. What was there is there still.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes)?.persist(path)?;
    sync_folder(path)
}

/// The same where nothing is at `path`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something is, which is left as it is; or if it cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes)?.persist_noclobber(path)?;
    sync_folder(path)
}

fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = writing_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A file's name is on disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Removes what a crash left half-written in `folder`. Only while nobody writes there.
pub fn clear_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(WRITING)) {
        // What cannot be removed costs room, nothing else.
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes a folder for this user alone (mode 700). One that is there already must be this user's; access
/// that others have is taken away. Returns whether others had any: that is worth a line in the log.
///
/// # Errors
/// If it is another's, no folder, or the system refuses.
pub fn private_folder(path: &Path) -> io::Result<bool> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    judge(metadata.is_dir(), metadata.uid(), rustix::process::geteuid().as_raw())?;
    let open = metadata.mode() & 0o077 != 0;
    if open {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(open)
}

fn judge(is_folder: bool, owner: u32, me: u32) -> io::Result<()> {
    if !is_folder {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    if owner != me {
        let reason = format!(
            "it belongs to user {owner}, and this program runs as {me}: what others can change there is neither read nor run; give it to this user, or choose another `data_dir`"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").expect("a file");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        assert_eq!(read_file(&at("file"), 10).expect("its bytes"), b"text");
        assert_eq!(read_file(&at("link"), 2).expect("its bytes"), b"tex");
        // Nobody ever writes to it.
        assert!(open_file(&at("pipe")).expect_err("a pipe").to_string().contains("not a file"));
        assert!(open_file(Path::new("/dev/null")).is_err());
        assert_eq!(open_file(folder.path()).expect_err("a folder").kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open_file(&at("nothing")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_becomes_this_users_alone_or_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mode = || fs::metadata(&data).expect("a folder").mode() & 0o777;
        assert!(!private_folder(&data).expect("it is made"));
        fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("opened");
        assert!(private_folder(&data).expect("it is mended"));
        assert_eq!(mode(), 0o700);
        assert!(!private_folder(&data).expect("nothing to do"));
        let reason = judge(true, 1, 2).expect_err("another's").to_string();
        assert!(reason.contains("user 1") && reason.contains("data_dir"), "{reason}");
        fs::write(folder.path().join("file"), "").expect("a file");
        assert!(private_folder(&folder.path().join("file")).is_err());
    }

    #[test]
    fn a_file_is_compared_by_all_of_its_bytes() {
        for (content, same) in
            [("code", true), ("cod", false), ("codes", false), ("c0de", false), ("", false)]
        {
            assert_eq!(is_same(&mut content.as_bytes(), b"code").expect("it is read"), same, "{content}");
        }
        let long = vec![7; 200_000];
        assert!(is_same(&mut long.as_slice(), &long).expect("it is read"));
    }

    #[test]
    fn a_file_is_replaced_at_once_and_never_made_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        create(&path, b"one").expect("it is made");
        let error = create(&path, b"two").expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("its bytes"), b"one");
        let mut before = File::open(&path).expect("the old file");
        replace(&path, b"three").expect("it is replaced");
        assert!(is_same(&mut before, b"one").expect("who has it open reads it to its end"));
        assert_eq!(fs::read(&path).expect("its bytes"), b"three");
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_a_crash_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = writing_in(folder.path()).expect("a file").keep().expect("it stays").1;
        fs::write(folder.path().join("file"), "").expect("a file");
        clear_leftovers(folder.path());
        assert!(!left.exists() && folder.path().join("file").exists());
    }
}
