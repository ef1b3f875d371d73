//! A file's bytes: mapped, so that weights are paged in as they are touched, or read.
//!
//! A mapping needs `unsafe`: it is only sound while nobody changes the file. Neither the operating
//! system nor Rust can promise that, so the limits are stated here.
//! Do not edit or truncate a model file while a program has it open; replace it by writing a new
//! file and renaming it over the old name, as [`crate::atomic`] does, which leaves existing
//! mappings intact. [`FileMap::check_unchanged`] turns a file that has shrunk into an error before
//! it is touched; a file that shrinks in the very moment of an access still ends the process
//! (SIGBUS on Unix). Where files cannot be trusted to stay as they are, as on some network drives,
//! [`FileMap::read`] copies them into memory first.
#![allow(unsafe_code)]

use demask_quant::ImageBuffer;
use std::fs::File;
use std::io::{self, Read};
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

/// How the weights of a file are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Mapped: nothing is copied, and unused parts are never read. A file that shrinks in the very
    /// moment of an access ends the process, see the head of this module.
    #[default]
    Mapped,
    /// Read into memory, of GGUF files piece by piece: a file that shrinks is an error, whenever that
    /// happens.
    Copied,
}

/// A file's bytes, read-only. The first one is on a 64-byte boundary.
#[derive(Debug)]
pub struct FileMap {
    path: PathBuf,
    file: File,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    /// Also an empty file, of which there is no mapping.
    Read(ImageBuffer),
}

impl FileMap {
    /// Maps a regular file, or copies it into memory.
    ///
    /// # Errors
    /// As [`FileMap::open`] and [`FileMap::read`].
    pub fn open_as(path: &Path, access: Access) -> Result<Self, MapError> {
        match access {
            Access::Mapped => Self::open(path),
            Access::Copied => Self::read(path),
        }
    }

    /// Copies a regular file into memory, where changes of the file cannot reach it.
    ///
    /// # Errors
    /// [`MapError`] when the file is missing, is not a regular file, cannot be read, or does not fit
    /// into memory.
    pub fn read(path: &Path) -> Result<Self, MapError> {
        let (mut file, length) = open_regular(path)?;
        let failed = |source| MapError::Io { path: path.to_owned(), source };
        let buffer = usize::try_from(length).ok().and_then(ImageBuffer::zeroed);
        let mut buffer = buffer.ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        file.read_exact(buffer.bytes_mut()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, bytes: Bytes::Read(buffer) })
    }

    /// Maps the whole of a regular file. An empty file gives an empty slice.
    ///
    /// # Errors
    /// [`MapError`] when the file is missing, is not a regular file, or cannot be read or mapped.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        let (file, length) = open_regular(path)?;
        if length == 0 {
            return Self::read(path);
        }
        // SAFETY: the mapping is read-only and `Self` keeps it alive for as long as its bytes are
        // borrowed. That nobody changes the file meanwhile is the documented condition of this
        // module (see its head); `check_unchanged` narrows the window.
        let map = unsafe { memmap2::Mmap::map(&file) };
        let map = map.map_err(|source| MapError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, bytes: Bytes::Mapped(map) })
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Read(buffer) => buffer.bytes(),
        }
    }

    /// Gives the memory of bytes back that will not be read again soon; they are still there. Only
    /// memory of a mapping is given back, and only where the system knows how.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes {
            // Systems map pages in runs around the one that is touched. Adjacent ranges are cut at
            // the same places, so that together they give everything back.
            const RUN: usize = 1 << 16;
            let [start, end] = [range.start, range.end].map(|at| at.min(map.len()) / RUN * RUN);
            if start < end {
                // SAFETY: the mapping is read-only and backed by the file: pages that are dropped
                // are read from it again.
                let advice = unsafe {
                    map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
                // Advice that is not taken costs memory and nothing else.
                let _ = advice;
            }
        }
        #[cfg(not(unix))]
        let _ = range;
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
        if matches!(self.bytes, Bytes::Read(_)) {
            return Ok(());
        }
        let failed = |source| MapError::Io { path: self.path.clone(), source };
        let now = self.file.metadata().map_err(failed)?.len();
        let mapped = self.bytes().len() as u64;
        if now < mapped {
            return Err(MapError::Shrank { path: self.path.clone(), mapped, now });
        }
        Ok(())
    }
}

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
    fn read_files_do_not_follow_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let file = FileMap::read(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        assert_eq!(file.bytes(), b"abc");
        file.check_unchanged().unwrap();
        assert_eq!(FileMap::read(&path).unwrap().bytes(), b"");
    }

    #[test]
    fn released_bytes_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let content: Vec<u8> = (0..200_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        for file in [FileMap::open(&path).unwrap(), FileMap::read(&path).unwrap()] {
            for range in [0..200_000, 5..6, 100_000..usize::MAX, 300_000..400_000] {
                assert!(file.bytes() == content);
                file.release(range);
                assert!(file.bytes() == content);
            }
        }
    }

    #[test]
    fn maps_bytes_and_empty_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let map = FileMap::open(&path).unwrap();
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
