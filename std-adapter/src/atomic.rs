//! Files that are either complete or not there.
//!
//! Content goes to a temporary name in the same folder, is flushed to the device and then renamed,
//! so that a full disk, a crash or an impatient Ctrl-C never leaves half a file under the real name
//! and never harms the file that was there before.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Why a file was not written. Whatever stood under its name before is still there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The path ends in nothing that could name a file.
    #[error("{} does not name a file; give a folder and a file name", .0.display())]
    NoFileName(PathBuf),
    /// A folder stands under this name.
    #[error("{} is a folder; give the name of a file in it", .0.display())]
    IsFolder(PathBuf),
    /// The operating system refused a step.
    #[error("cannot {step} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// The file that was wanted.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full, free some space or choose another folder",
        io::ErrorKind::QuotaExceeded => "your disk quota is used up, choose another folder",
        io::ErrorKind::FileTooLarge => "the file system allows no file of this size",
        io::ErrorKind::NotFound => "its folder does not exist, create it first",
        io::ErrorKind::PermissionDenied => "you may not write there, choose another folder",
        io::ErrorKind::ReadOnlyFilesystem => "it cannot be written to, choose another folder",
        _ => "nothing was changed",
    }
}

/// Removes the temporary file unless it has been renamed.
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // Already on the way out with an error; a leftover is hidden and harmless.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a file by calling `fill` on a buffered temporary file, which takes the name `path` once
/// everything is on the device. An existing file is replaced; a symbolic link is replaced itself,
/// not what it points to.
///
/// # Errors
/// [`WriteError`]; an error that `fill` returns is reported as a failure to write.
pub fn write_atomic<F>(path: &Path, fill: F) -> Result<(), WriteError>
where
    F: FnOnce(&mut BufWriter<File>) -> io::Result<()>,
{
    let failed = |step| move |source| WriteError::Io { path: path.to_owned(), step, source };
    if path.is_dir() {
        return Err(WriteError::IsFolder(path.to_owned()));
    }
    let (file, mut temporary) = create_temporary(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    fill(&mut writer).map_err(failed("write"))?;
    let file = writer.into_inner().map_err(|e| failed("write")(e.into_error()))?;
    file.sync_all().map_err(failed("flush"))?;
    // Closed before the rename: Windows does not rename an open file.
    drop(file);
    std::fs::rename(&temporary.path, path).map_err(failed("rename the finished file to"))?;
    temporary.keep = true;
    sync_folder(parent(path)).map_err(failed("flush the folder of"))
}

/// Fails as [`write_atomic`] would at its beginning: for asking before long work what would end it.
///
/// # Errors
/// [`WriteError`], if no file can be created there.
pub fn check_place(path: &Path) -> Result<(), WriteError> {
    match path.is_dir() {
        true => Err(WriteError::IsFolder(path.to_owned())),
        false => create_temporary(path).map(drop),
    }
}

/// [`write_atomic`] for content that is already in memory.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_bytes(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    write_atomic(path, |file| file.write_all(content))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a hidden file beside `path` that no other process or thread has.
fn create_temporary(path: &Path) -> Result<(File, Temporary), WriteError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or_else(|| WriteError::NoFileName(path.to_owned()))?;
    let folder = parent(path);
    loop {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        hidden.push(format!(".{}-{count}.tmp", std::process::id()));
        let candidate = folder.join(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&candidate) {
            Ok(file) => return Ok((file, Temporary { path: candidate, keep: false })),
            // Left behind by a process that had our id: take the next number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(WriteError::Io { path: path.to_owned(), step: "create", source });
            }
        }
    }
}

/// Makes the rename itself durable. File systems that cannot flush a folder say so with an error
/// that is no reason to call the write a failure.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(e)
        }
        _ => Ok(()),
    }
}

/// Elsewhere a folder cannot be opened as a file; the rename is durable when the system says so.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entry =
            |e: io::Result<std::fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        std::fs::read_dir(folder).unwrap().map(entry).collect()
    }

    #[test]
    fn writes_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic_bytes(&path, b"one").unwrap();
        write_atomic_bytes(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic_bytes(&path, b"old").unwrap();
        let error = write_atomic(&path, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_place_is_checked_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        check_place(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        assert!(matches!(check_place(folder.path()), Err(WriteError::IsFolder(_))));
        assert!(check_place(&folder.path().join("no/a.bin")).is_err());
    }

    #[test]
    fn says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic_bytes(&folder.path().join("no/a.bin"), b"").unwrap_err();
        assert!(error.to_string().contains("create it first"), "{error}");
        let error = write_atomic_bytes(folder.path(), b"").unwrap_err();
        assert!(matches!(error, WriteError::IsFolder(_)));
        let error = write_atomic_bytes(&folder.path().join(".."), b"").unwrap_err();
        assert!(matches!(error, WriteError::IsFolder(_) | WriteError::NoFileName(_)));
    }
}
