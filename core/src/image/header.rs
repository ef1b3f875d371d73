//! The fixed header and the section table, the part of an image that is read first.

use super::bytes::{align_up, range, read_u32, read_u64};
use super::{ALIGN, ImageError};

/// First eight bytes of every image. The high bit and the line endings catch text-mode transfers.
pub const MAGIC: [u8; 8] = *b"\x89DMK\r\n\x1a\n";
/// Format version that this crate reads. Another major version is refused. Images without a section of
/// version 1.1 are written as 1.0.
pub const VERSION: (u16, u16) = (1, 1);
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 64;
/// Length of one entry of the section table in bytes.
pub const ENTRY_BYTES: usize = 64;
/// Length of a digest (SHA-256) in bytes.
pub const DIGEST_BYTES: usize = 32;
/// Offset of the manifest digest in the header.
pub const MANIFEST_DIGEST_AT: usize = 32;
/// Most sections an image may have.
pub const MAX_SECTIONS: u32 = 64;

/// What a section holds. Kinds below 256 must be known to the reader; higher ones may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum SectionKind {
    /// Shape and constants of the model; always the first section.
    Config = 1,
    /// Vocabulary and merges.
    Tokenizer = 2,
    /// How a user's text becomes a canvas.
    Prompt = 3,
    /// Where each tensor lies in the WEIGHTS section.
    Tensors = 4,
    /// The tensors.
    Weights = 5,
    /// The network of [`Learn2pd`](crate::decode::Learn2pd); since version 1.1.
    Filter = 256,
}

impl SectionKind {
    const ALL: [Self; 6] =
        [Self::Config, Self::Tokenizer, Self::Prompt, Self::Tensors, Self::Weights, Self::Filter];

    /// The first minor version with this kind.
    #[must_use]
    pub const fn since(self) -> u16 {
        matches!(self, Self::Filter) as u16
    }

    /// Name as the format specification spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "CONFIG",
            Self::Tokenizer => "TOKENIZER",
            Self::Prompt => "PROMPT",
            Self::Tensors => "TENSORS",
            Self::Weights => "WEIGHTS",
            Self::Filter => "FILTER",
        }
    }
}

/// One entry of the section table, with the bytes that it names.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// What the section holds; `None` for an optional kind that this version does not know.
    pub kind: Option<SectionKind>,
    /// The section itself.
    pub bytes: &'a [u8],
    /// The section and its padding up to the next one: what the digest covers.
    pub padded: &'a [u8],
    /// SHA-256 of `padded`.
    pub digest: &'a [u8; DIGEST_BYTES],
}

/// Checked header fields.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Anti-rollback counter: a device may refuse an image with a lower one than it has seen.
    pub security_counter: u32,
    /// SHA-256 over the header (with these bytes zero) and the section table.
    pub manifest_digest: &'a [u8; DIGEST_BYTES],
    section_count: u32,
}

impl<'a> Header<'a> {
    /// Checks magic, version, total length and the section table of `image`.
    ///
    /// # Errors
    /// The first rule of the format specification that does not hold.
    pub fn parse(image: &'a [u8]) -> Result<Self, ImageError> {
        let truncated = ImageError::Truncated { needed: HEADER_BYTES as u64 };
        let header: &[u8; HEADER_BYTES] = image.first_chunk().ok_or(truncated)?;
        if !header.starts_with(&MAGIC) {
            return Err(ImageError::NotAnImage);
        }
        let version = read_u32(header, 8).ok_or(truncated)?;
        let (major, minor) = (version as u16, (version >> 16) as u16);
        if major != VERSION.0 {
            return Err(ImageError::Version { major, minor });
        }
        if read_u32(header, 12) != Some(0) {
            return Err(ImageError::Header("flags"));
        }
        let total = read_u64(header, 16).ok_or(truncated)?;
        if (image.len() as u64) < total {
            return Err(ImageError::Truncated { needed: total });
        }
        if image.len() as u64 > total {
            return Err(ImageError::TrailingBytes { expected: total });
        }
        let section_count = read_u32(header, 28).ok_or(truncated)?;
        if section_count == 0 || section_count > MAX_SECTIONS {
            return Err(ImageError::Header("section count"));
        }
        let parsed = Self {
            security_counter: read_u32(header, 24).ok_or(truncated)?,
            manifest_digest: digest_at(header, MANIFEST_DIGEST_AT).ok_or(truncated)?,
            section_count,
        };
        parsed.check_sections(image)?;
        Ok(parsed)
    }

    /// Sections must be sorted by kind, each once, and lie back to back on 64-byte boundaries up to
    /// the end of the image: then no byte of an image is outside a digest.
    fn check_sections(&self, image: &'a [u8]) -> Result<(), ImageError> {
        let mut next = self.manifest_bytes() as u64;
        let mut last_kind = 0;
        for i in 0..self.section_count {
            let entry = self.entry(image, i).ok_or(ImageError::Truncated { needed: next })?;
            if entry.kind <= last_kind {
                return Err(ImageError::Section { index: i, problem: "kind out of order" });
            }
            if entry.kind < 256 && !SectionKind::ALL.iter().any(|k| *k as u32 == entry.kind) {
                return Err(ImageError::Section { index: i, problem: "unknown kind" });
            }
            if entry.reserved != 0 {
                return Err(ImageError::Section { index: i, problem: "reserved field not zero" });
            }
            if entry.offset != next {
                return Err(ImageError::Section { index: i, problem: "offset" });
            }
            next = entry
                .offset
                .checked_add(entry.length)
                .and_then(|end| align_up(end, ALIGN as u64))
                .filter(|&end| end <= image.len() as u64)
                .ok_or(ImageError::Section { index: i, problem: "length" })?;
            last_kind = entry.kind;
        }
        if next != image.len() as u64 {
            return Err(ImageError::TrailingBytes { expected: next });
        }
        Ok(())
    }

    /// Length of header and section table in bytes.
    #[must_use]
    pub const fn manifest_bytes(&self) -> usize {
        HEADER_BYTES + self.section_count as usize * ENTRY_BYTES
    }

    /// The sections of the image that this header was parsed from.
    pub fn sections(&self, image: &'a [u8]) -> impl Iterator<Item = Section<'a>> {
        let header = *self;
        (0..self.section_count).filter_map(move |i| header.entry(image, i)?.section(image))
    }

    /// The bytes of the section of this kind.
    #[must_use]
    pub fn section(&self, image: &'a [u8], kind: SectionKind) -> Option<&'a [u8]> {
        self.sections(image).find(|s| s.kind == Some(kind)).map(|s| s.bytes)
    }

    fn entry(&self, image: &'a [u8], index: u32) -> Option<Entry<'a>> {
        let at = HEADER_BYTES + index as usize * ENTRY_BYTES;
        Some(Entry {
            kind: read_u32(image, at)?,
            reserved: u64::from(read_u32(image, at + 4)?) | read_u64(image, at + 24)?,
            offset: read_u64(image, at + 8)?,
            length: read_u64(image, at + 16)?,
            digest: digest_at(image, at + 32)?,
        })
    }
}

/// A raw table entry.
struct Entry<'a> {
    kind: u32,
    reserved: u64,
    offset: u64,
    length: u64,
    digest: &'a [u8; DIGEST_BYTES],
}

impl<'a> Entry<'a> {
    fn section(&self, image: &'a [u8]) -> Option<Section<'a>> {
        let padded = align_up(self.length, ALIGN as u64)?;
        Some(Section {
            kind: SectionKind::ALL.into_iter().find(|k| *k as u32 == self.kind),
            bytes: range(image, self.offset, self.length)?,
            padded: range(image, self.offset, padded)?,
            digest: self.digest,
        })
    }
}

fn digest_at(bytes: &[u8], at: usize) -> Option<&[u8; DIGEST_BYTES]> {
    bytes.get(at..)?.first_chunk()
}

/// The CONFIG section without any other check, in a form that works in constants.
pub(super) const fn peek_config_section(image: &[u8]) -> Option<&[u8]> {
    // CONFIG has the lowest kind, so it is the first entry.
    let (Some(1), Some(offset), Some(length)) = (
        read_u32(image, HEADER_BYTES),
        read_u64(image, HEADER_BYTES + 8),
        read_u64(image, HEADER_BYTES + 16),
    ) else {
        return None;
    };
    if offset > usize::MAX as u64 || length > usize::MAX as u64 {
        return None;
    }
    let Some((_, rest)) = image.split_at_checked(offset as usize) else { return None };
    let Some((section, _)) = rest.split_at_checked(length as usize) else { return None };
    Some(section)
}
