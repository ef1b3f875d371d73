//! The tokenizer section: checked once, then read in place.
//!
//! The byte layout stands in the documentation of [`text`](super).

use super::{DecodeError, TokenizerError, Utf8Stream};

/// Header value for byte-level BPE, the only kind so far.
pub const KIND_BYTE_BPE: u32 = 1;
/// Header value for GPT-2's pre-tokenizer, the only one so far.
pub const PRE_TOKENIZER_GPT2: u32 = 1;
/// Header flag: a text that does not start with a space is read as if it did.
pub const FLAG_ADD_PREFIX_SPACE: u32 = 1;
/// In the byte tokens: the vocabulary has no token for this byte.
pub const NO_TOKEN: u32 = u32::MAX;

/// A little-endian `u32` where it lies, with no alignment.
type Le32 = [u8; 4];

/// What decoding does with special tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Specials {
    /// Leaves them out of the text.
    #[default]
    Skip,
    /// Writes their content.
    Render,
}

/// A tokenizer, borrowed from its section.
///
/// ```
/// use demask::text::{Specials, Tokenizer, Utf8Stream};
///
/// fn round_trip(section: &[u8], text: &str) -> Result<String, Box<dyn core::error::Error>> {
///     let tokenizer = Tokenizer::parse(section)?;
///     let mut ids = [0; 64];
///     let count = tokenizer.encode(text, &mut ids)?;
///
///     let (mut stream, mut back) = (Utf8Stream::new(), String::new());
///     tokenizer.decode(&ids[..count], Specials::Skip, &mut stream, |part| back.push_str(part))?;
///     stream.finish(|part| back.push_str(part));
///     Ok(back)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'a> {
    byte_tokens: &'a [Le32],
    offsets: &'a [Le32],
    /// left, right, rank, id; ascending by (left, right)
    merges: &'a [[Le32; 4]],
    specials: &'a [Le32],
    blob: &'a [u8],
    pub(super) add_prefix_space: bool,
    /// One bit for each byte that a special starts with.
    special_starts: [u32; 8],
}

impl<'a> Tokenizer<'a> {
    /// Checks a section and gives access to it. Reads all of it once; nothing can go wrong later.
    ///
    /// # Errors
    ///
    /// Names the first thing that breaks the format.
    pub fn parse(section: &'a [u8]) -> Result<Self, TokenizerError> {
        let found = section.len();
        let (words, _) = section.as_chunks::<4>();
        let header = words.first_chunk().ok_or(TokenizerError::Length { expected: 32, found })?;
        let [kind, pre_tokenizer, flags, pieces, merges, specials, bytes, reserved] =
            header.map(u32::from_le_bytes);
        check_header(kind, pre_tokenizer, flags, reserved)?;

        // In u64 the sum cannot overflow: every count is below 2^32.
        let [piece_count, merge_count, special_count] = [pieces, merges, specials].map(u64::from);
        let table_words = 8 + 256 + (piece_count + 1) + 4 * merge_count + special_count;
        let expected = 4 * table_words + u64::from(bytes).next_multiple_of(4);
        if expected != found as u64 {
            return Err(TokenizerError::Length { expected, found });
        }

        // The length is right, so every part is there and every count fits in usize.
        let cut = TokenizerError::Length { expected, found };
        let take = |words: &mut &'a [Le32], count: u64| {
            let count = usize::try_from(count).map_err(|_| cut)?;
            let (part, rest) = words.split_at_checked(count).ok_or(cut)?;
            *words = rest;
            Ok(part)
        };
        let mut rest = words;
        take(&mut rest, 8)?;
        let byte_tokens = take(&mut rest, 256)?;
        let offsets = take(&mut rest, piece_count + 1)?;
        let (merges, _) = take(&mut rest, 4 * merge_count)?.as_chunks::<4>();
        let specials = take(&mut rest, special_count)?;
        let (blob, padding) = rest.as_flattened().split_at_checked(bytes as usize).ok_or(cut)?;

        let mut tokenizer = Self {
            byte_tokens,
            offsets,
            merges,
            specials,
            blob,
            add_prefix_space: flags & FLAG_ADD_PREFIX_SPACE != 0,
            special_starts: [0; 8],
        };
        tokenizer.check_pieces()?;
        tokenizer.check_byte_tokens()?;
        tokenizer.check_merges()?;
        tokenizer.check_specials()?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(TokenizerError::Padding);
        }
        Ok(tokenizer)
    }

    /// Number of ids: every id is below it.
    #[must_use]
    pub fn vocab_len(&self) -> u32 {
        // The header gave it as a u32.
        self.offsets.len().saturating_sub(1) as u32
    }

    /// The bytes that a token stands for. Empty for an id that the vocabulary leaves out; `None`
    /// at or above [`vocab_len`](Self::vocab_len).
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<&'a [u8]> {
        let ends = self.offsets.get(id as usize..)?.first_chunk::<2>()?;
        let [start, end] = ends.map(u32::from_le_bytes);
        self.blob.get(start as usize..end as usize)
    }

    /// Whether a token is special: never produced by [`encode`](Self::encode) from its content.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.binary_search_by(|entry| u32::from_le_bytes(*entry).cmp(&id)).is_ok()
    }

    /// The special token with this content, such as `<|user|>`.
    #[must_use]
    pub fn special(&self, name: &str) -> Option<u32> {
        self.specials().find(|&(_, content)| content == name.as_bytes()).map(|(id, _)| id)
    }

    /// The special tokens, by ascending id, with their content.
    pub fn specials(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let ids = self.specials.iter().map(|entry| u32::from_le_bytes(*entry));
        ids.filter_map(|id| Some((id, self.piece(id)?)))
    }

    /// Turns tokens into text, part by part.
    ///
    /// A character may be spread over several tokens, so bytes can stay behind in `stream`; hand
    /// the same stream to the next call, and end with [`Utf8Stream::finish`].
    ///
    /// # Errors
    ///
    /// [`DecodeError::UnknownId`]; the text of the tokens before it has been handed out.
    pub fn decode(
        &self,
        ids: &[u32],
        specials: Specials,
        stream: &mut Utf8Stream,
        mut sink: impl FnMut(&str),
    ) -> Result<(), DecodeError> {
        for (index, &id) in ids.iter().enumerate() {
            let piece = self.piece(id).ok_or(DecodeError::UnknownId { index, id })?;
            if specials == Specials::Render || !self.is_special(id) {
                stream.push(piece, &mut sink);
            }
        }
        Ok(())
    }

    /// The token of a single byte.
    pub(super) fn byte_token(&self, byte: u8) -> Option<u32> {
        let id = u32::from_le_bytes(*self.byte_tokens.get(usize::from(byte))?);
        (id != NO_TOKEN).then_some(id)
    }

    /// Rank and result of the merge of two neighbours.
    pub(super) fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let at = self.merges.binary_search_by(|[l, r, ..]| {
            (u32::from_le_bytes(*l), u32::from_le_bytes(*r)).cmp(&(left, right))
        });
        let [_, _, rank, id] = self.merges.get(at.ok()?)?;
        Some((u32::from_le_bytes(*rank), u32::from_le_bytes(*id)))
    }

    /// Whether some special starts with this byte.
    pub(super) fn starts_special(&self, byte: u8) -> bool {
        let bits = self.special_starts.get(usize::from(byte / 32));
        bits.is_some_and(|bits| bits & (1 << (byte % 32)) != 0)
    }

    fn check_pieces(&self) -> Result<(), TokenizerError> {
        let mut least = 0;
        for (id, entry) in (0..).zip(self.offsets) {
            let offset = u32::from_le_bytes(*entry);
            if offset < least || (id == 0 && offset != 0) || offset as usize > self.blob.len() {
                return Err(TokenizerError::Piece { id });
            }
            least = offset;
        }
        // `least` is now the end of the last piece.
        match least as usize == self.blob.len() {
            true => Ok(()),
            false => Err(TokenizerError::Piece { id: self.vocab_len() }),
        }
    }

    fn check_byte_tokens(&self) -> Result<(), TokenizerError> {
        for byte in 0..=u8::MAX {
            let spelled = self.byte_token(byte).map(|id| self.piece(id));
            if spelled.is_some_and(|piece| piece != Some(&[byte])) {
                return Err(TokenizerError::ByteToken { byte });
            }
        }
        Ok(())
    }

    fn check_merges(&self) -> Result<(), TokenizerError> {
        let mut before = None;
        for (index, merge) in self.merges.iter().enumerate() {
            let [left, right, rank, id] = merge.map(u32::from_le_bytes);
            if before >= Some((left, right)) {
                return Err(TokenizerError::MergeOrder { index });
            }
            before = Some((left, right));
            // Empty parts would let a merge run in circles.
            let part = |id| self.piece(id).filter(|piece| !piece.is_empty());
            let rest = part(left).zip(self.piece(id)).and_then(|(l, whole)| whole.strip_prefix(l));
            if rest.is_none() || rest != part(right) || rank as usize >= self.merges.len() {
                return Err(TokenizerError::Merge { index });
            }
        }
        Ok(())
    }

    /// Checks the specials and notes what they start with.
    fn check_specials(&mut self) -> Result<(), TokenizerError> {
        let mut before = None;
        for (index, entry) in self.specials.iter().enumerate() {
            let id = u32::from_le_bytes(*entry);
            let content = self.piece(id).filter(|piece| core::str::from_utf8(piece).is_ok());
            let start = content.and_then(<[u8]>::first).copied();
            let (Some(start), true) = (start, before < Some(id)) else {
                return Err(TokenizerError::Special { index });
            };
            before = Some(id);
            if let Some(bits) = self.special_starts.get_mut(usize::from(start / 32)) {
                *bits |= 1 << (start % 32);
            }
        }
        Ok(())
    }
}

fn check_header(kind: u32, pre: u32, flags: u32, reserved: u32) -> Result<(), TokenizerError> {
    if kind != KIND_BYTE_BPE {
        return Err(TokenizerError::Kind(kind));
    }
    if pre != PRE_TOKENIZER_GPT2 {
        return Err(TokenizerError::PreTokenizer(pre));
    }
    if flags & !FLAG_ADD_PREFIX_SPACE != 0 {
        return Err(TokenizerError::Flags(flags));
    }
    if reserved != 0 {
        return Err(TokenizerError::Reserved(reserved));
    }
    Ok(())
}
