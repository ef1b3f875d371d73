//! Read-only mapping of a file, so that weights are paged in as they are touched.
//!
//! The one place of this crate that needs `unsafe`: a mapping is only sound while nobody changes
//! the file. Neither the operating system nor Rust can promise that, so the limits are stated here.
//! Do not edit or truncate a model file while a program has it open; replace it by writing a new
//! file and renaming it over the old name, as [`crate::atomic`] does, which leaves existing
//! mappings intact. [`FileMap::check_unchanged`] turns a file that has shrunk into an error before
//! it is touched; a file that shrinks in the very moment of an access still ends the process
//! (SIGBUS on Unix).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a file could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The path leads nowhere.
    #[error("{} does not exist; check the spelling, or download the model first", .0.display())]
    Missing(PathBuf),
    /// A folder, a pipe, a device.
    #[error("{} is not a regular file; give the path of the file itself", .0.display())]
    NotAFile(PathBuf),
    /// Opening or mapping failed.
    #[error("cannot read {}: {source}; check that you may read it", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is shorter than when it was mapped.
    #[error(
        "{} shrank from {mapped} to {now} bytes while it was in use; restore it and start again",
        path.display()
    )]
    Shrank {
        /// The file.
        path: PathBuf,
        /// Its length when it was mapped, in bytes.
        mapped: u64,
        /// Its length now, in bytes.
        now: u64,
    },
}

/// A file's bytes, mapped read-only. The first byte is page-aligned (for an empty file there is no
/// mapping and no byte).
#[derive(Debug)]
pub struct FileMap {
    path: PathBuf,
    file: File,
    map: Option<memmap2::Mmap>,
}

impl FileMap {
    /// Maps the whole of a regular file. An empty file gives an empty slice.
    ///
    /// # Errors
    /// [`MapError`] when the file is missing, is not a regular file, or cannot be read or mapped.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        let (file, length) = open_regular(path)?;
        let failed = |source| MapError::Io { path: path.to_owned(), source };
        let map = if length == 0 {
            None
        } else {
            // SAFETY: the mapping is read-only and `Self` keeps it alive for as long as its bytes
            // are borrowed. That nobody changes the file meanwhile is the documented condition of
            // this module (see its head); `check_unchanged` narrows the window.
            Some(unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?)
        };
        Ok(Self { path: path.to_owned(), file, map })
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Where the file was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file that has become shorter than its mapping. Costs one system call; called
    /// before a large read, so that a truncated file is an error and not the end of the process.
    ///
    /// # Errors
    /// [`MapError::Shrank`], or [`MapError::Io`] when the length cannot be asked for.
    pub fn check_unchanged(&self) -> Result<(), MapError> {
        let failed = |source| MapError::Io { path: self.path.clone(), source };
        let now = self.file.metadata().map_err(failed)?.len();
        let mapped = self.bytes().len() as u64;
        if now < mapped {
            return Err(MapError::Shrank { path: self.path.clone(), mapped, now });
        }
        Ok(())
    }

    /// Tells the operating system that a range will not be needed soon, so that its memory can go to
    /// others. The range stays readable: its pages are read from the file again.
    pub fn release(&self, range: Range<usize>) {
        let within = range.start <= range.end && range.end <= self.bytes().len();
        if let Some(map) = self.map.as_ref().filter(|_| within) {
            release_pages(map, range);
        }
    }
}

#[cfg(unix)]
fn release_pages(map: &memmap2::Mmap, range: Range<usize>) {
    let advice = memmap2::UncheckedAdvice::DontNeed;
    // SAFETY: the range lies in the mapping, as the caller has checked. The mapping is of a file and
    // never written to, so that dropped pages come back with the same content.
    // A refusal costs memory and nothing else.
    let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
}

/// Elsewhere the operating system is left to find out.
#[cfg(not(unix))]
fn release_pages(_map: &memmap2::Mmap, _range: Range<usize>) {}

/// Opens a regular file and asks for its length in bytes.
///
/// # Errors
/// [`MapError`] when the file is missing, is not a regular file, or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), MapError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => MapError::Missing(path.to_owned()),
        _ => MapError::Io { path: path.to_owned(), source },
    };
    // Looked at before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(MapError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_bytes_and_empty_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let map = FileMap::open(&path).unwrap();
        assert_eq!(map.bytes(), b"abc");
        map.release(0..3);
        map.release(2..9);
        assert_eq!(map.bytes(), b"abc");
        map.check_unchanged().unwrap();
        std::fs::write(&path, b"").unwrap();
        assert_eq!(FileMap::open(&path).unwrap().bytes(), b"");
        assert!(matches!(map.check_unchanged(), Err(MapError::Shrank { mapped: 3, now: 0, .. })));
    }

    #[test]
    fn refuses_what_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(FileMap::open(folder.path()), Err(MapError::NotAFile(_))));
        let missing = folder.path().join("none");
        assert!(matches!(FileMap::open(&missing), Err(MapError::Missing(_))));
    }
}
