//! Opening files that somebody else may replace at any moment, and folders that are this user's alone.
//!
//! A path is judged by what was opened, not by what was there a moment before: what is a file when it is
//! looked at may be a pipe when it is opened, and opening a pipe waits for its writer.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

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

/// Makes a folder for this user alone. One that is there already must be this user's; what others
/// might do in it is taken from them. Whether that was so: it is worth a line in the log.
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
}
