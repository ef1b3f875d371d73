//! The PROMPT section: how a user's text becomes the start of a canvas.

use super::ImageError;
use super::bytes::read_u32;

/// Length of the section without its token ids, in bytes.
pub const PROMPT_HEADER_BYTES: usize = 16;
/// Most ids before or after the text.
const MAX_IDS: u32 = 64;
const FLAG_LEADING_SPACE: u32 = 1;
const FLAG_NORMAL_FORM: u32 = 2;

/// Token ids around the user's text, and how the text is prepared.
///
/// A canvas is `prefix`, the encoded text, `suffix`, and then the masks to fill.
#[derive(Debug, Clone, Copy, Default)]
pub struct PromptFormat<'a> {
    prefix: &'a [[u8; 4]],
    suffix: &'a [[u8; 4]],
    /// The text is encoded with one space in front of it.
    pub leading_space: bool,
    /// The model was trained on lower-case text without punctuation; hosts bring text into this
    /// form, firmware is expected to pass it so.
    pub normal_form: bool,
}

impl<'a> PromptFormat<'a> {
    /// Reads the section of a model with this many token ids.
    ///
    /// # Errors
    /// [`ImageError::Prompt`] names the first rule that does not hold.
    pub fn parse(section: &'a [u8], vocab_size: u32) -> Result<Self, ImageError> {
        let error = ImageError::Prompt;
        let (head, ids) =
            section.split_at_checked(PROMPT_HEADER_BYTES).ok_or(error("too short"))?;
        let word = |at| read_u32(head, at).ok_or(error("too short"));
        let (prefix_len, suffix_len, flags) = (word(0)?, word(4)?, word(8)?);
        if prefix_len > MAX_IDS || suffix_len > MAX_IDS {
            return Err(error("more than 64 ids"));
        }
        if flags & !(FLAG_LEADING_SPACE | FLAG_NORMAL_FORM) != 0 || word(12)? != 0 {
            return Err(error("unknown flags"));
        }
        let (ids, rest) = ids.as_chunks::<4>();
        if ids.len() != (prefix_len + suffix_len) as usize || !rest.is_empty() {
            return Err(error("length"));
        }
        if ids.iter().any(|id| u32::from_le_bytes(*id) >= vocab_size) {
            return Err(error("an id is not in the vocabulary"));
        }
        let (prefix, suffix) = ids.split_at_checked(prefix_len as usize).ok_or(error("length"))?;
        Ok(Self {
            prefix,
            suffix,
            leading_space: flags & FLAG_LEADING_SPACE != 0,
            normal_form: flags & FLAG_NORMAL_FORM != 0,
        })
    }

    /// Token ids before the text.
    pub fn prefix(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.prefix.iter().map(|id| u32::from_le_bytes(*id))
    }

    /// Token ids between the text and the masks.
    pub fn suffix(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.suffix.iter().map(|id| u32::from_le_bytes(*id))
    }

    /// The flags word of the section, for writers.
    #[must_use]
    pub fn flags(leading_space: bool, normal_form: bool) -> u32 {
        u32::from(leading_space) * FLAG_LEADING_SPACE + u32::from(normal_form) * FLAG_NORMAL_FORM
    }
}
