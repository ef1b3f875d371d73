//! The bytes of a file, mapped or read when they are asked for.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::mmap::{Access, FileMap, MapError, open_regular};

/// A file with access to any range of it.
#[derive(Debug)]
pub(in crate::read) enum Data {
    Mapped(FileMap),
    Copied { path: PathBuf, file: File, length: u64 },
    Memory(Vec<u8>),
}

impl Data {
    pub(in crate::read) fn open(path: &Path, access: Access) -> Result<Self, MapError> {
        Ok(match access {
            Access::Mapped => Self::Mapped(FileMap::open(path)?),
            Access::Copied => {
                let (file, length) = open_regular(path)?;
                Self::Copied { path: path.to_owned(), file, length }
            }
        })
    }

    pub(in crate::read) fn path(&self) -> &Path {
        match self {
            Self::Mapped(map) => map.path(),
            Self::Copied { path, .. } => path,
            Self::Memory(_) => Path::new("(memory)"),
        }
    }

    /// Length of the file when it was opened.
    pub(in crate::read) fn length(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.bytes().len() as u64,
            Self::Copied { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The file from its first byte on.
    pub(in crate::read) fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Self::Mapped(map) => Box::new(map.bytes()),
            Self::Copied { file, .. } => Box::new(BufReader::with_capacity(1 << 16, file)),
            Self::Memory(bytes) => Box::new(bytes.as_slice()),
        }
    }

    /// Calls `take` with the bytes of a range that lies within the file.
    pub(in crate::read) fn with<T>(
        &self,
        range: Range<u64>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, MapError> {
        match self {
            Self::Mapped(map) => {
                map.check_unchanged()?;
                Ok(take(part(map.bytes(), range)))
            }
            Self::Memory(bytes) => Ok(take(part(bytes, range))),
            Self::Copied { path, file, length } => {
                let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
                read_exact_at(file, &mut bytes, range.start).map_err(|source| {
                    match (source.kind(), file.metadata()) {
                        (io::ErrorKind::UnexpectedEof, Ok(now)) => {
                            MapError::Shrank { path: path.clone(), mapped: *length, now: now.len() }
                        }
                        _ => MapError::Io { path: path.clone(), source },
                    }
                })?;
                Ok(take(&bytes))
            }
        }
    }

    /// Lets the operating system take back the memory of a range that will not be needed soon. It
    /// is read from the file again if it is needed after all.
    pub(in crate::read) fn release(&self, range: Range<u64>) {
        if let Self::Mapped(map) = self {
            map.release(range.start as usize..range.end as usize);
        }
    }
}

fn part(bytes: &[u8], range: Range<u64>) -> &[u8] {
    bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// Fills `bytes` from an offset on; many threads may read at once.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Fills `bytes` from an offset on; many threads may read at once.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (bytes, at) = (&mut bytes[read..], at + read as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_bytes_and_notice_a_shrunken_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for access in [Access::Mapped, Access::Copied] {
            std::fs::write(&path, vec![7; 9000]).unwrap();
            let data = Data::open(&path, access).unwrap();
            assert_eq!((data.length(), data.path()), (9000, path.as_path()));
            assert_eq!(data.with(8999..9000, <[u8]>::to_vec).unwrap(), [7]);
            data.release(0..9000);
            assert!(data.with(0..9000, |b| b.iter().all(|b| *b == 7)).unwrap());
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
            let error = data.with(50..200, <[u8]>::len).unwrap_err();
            assert!(matches!(error, MapError::Shrank { mapped: 9000, now: 100, .. }), "{error}");
        }
    }
}
