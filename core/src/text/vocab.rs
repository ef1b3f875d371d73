//! The tokenizer section: checked once, then read in place.
//!
//! The byte layout stands in the documentation of [`text`](super).

use super::{DecodeError, PreTokenizer, TokenizerError, Utf8Stream, Word};

/// Header value for byte-level BPE, the only kind so far.
pub const KIND_BYTE_BPE: u32 = 1;
/// Header flag: a text that does not start with a space is read as if it did.
pub const FLAG_ADD_PREFIX_SPACE: u32 = 1;
/// Header flag: the model was trained on text in Unicode's normalization form C.
pub const FLAG_NFC: u32 = 2;
/// In the byte tokens: the vocabulary has no token for this byte.
pub const NO_TOKEN: u32 = u32::MAX;
/// Bit in the added tokens: the token is ordinary text, not special.
pub const ORDINARY: u32 = 1 << 31;

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

/// Which added tokens are looked for in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Those that are ordinary text, such as `<think>` in some vocabularies.
    Ordinary,
    /// Special ones as well.
    All,
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
    /// ascending by id, which is all but the top bit
    added: &'a [Le32],
    /// ascending by piece
    whole_words: &'a [Le32],
    blob: &'a [u8],
    pub(super) pre_tokenizer: PreTokenizer,
    flags: u32,
    /// One bit for each byte that an added token starts with.
    added_starts: [u32; 8],
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
        let [kind, pre_tokenizer, flags, pieces, merges, added, bytes, whole_words] =
            header.map(u32::from_le_bytes);
        let pre_tokenizer = check_header(kind, pre_tokenizer, flags)?;
        if whole_words > 0 && !FAMILIES {
            return Err(TokenizerError::Families);
        }

        // In u64 the sum cannot overflow: every count is below 2^32.
        let [piece_count, merge_count, added_count, whole_count] =
            [pieces, merges, added, whole_words].map(u64::from);
        let table_words = 8 + 256 + (piece_count + 1) + 4 * merge_count + added_count + whole_count;
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
        let added = take(&mut rest, added_count)?;
        let whole_words = take(&mut rest, whole_count)?;
        let (blob, padding) = rest.as_flattened().split_at_checked(bytes as usize).ok_or(cut)?;

        let mut tokenizer = Self {
            byte_tokens,
            offsets,
            merges,
            added,
            whole_words,
            blob,
            pre_tokenizer,
            flags,
            added_starts: [0; 8],
        };
        tokenizer.check_pieces()?;
        tokenizer.check_byte_tokens()?;
        tokenizer.check_merges()?;
        tokenizer.check_added()?;
        tokenizer.check_whole_words()?;
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

    /// How texts are cut into words.
    #[must_use]
    pub fn pre_tokenizer(&self) -> PreTokenizer {
        self.pre_tokenizer
    }

    /// Whether a text should be brought into Unicode's normalization form C before it is encoded,
    /// each part between added tokens for itself. A host does that; a device that cannot takes text
    /// as it comes, which differs only for characters that can be written in more than one way.
    #[must_use]
    pub fn wants_nfc(&self) -> bool {
        self.flags & FLAG_NFC != 0
    }

    pub(super) fn add_prefix_space(&self) -> bool {
        self.flags & FLAG_ADD_PREFIX_SPACE != 0
    }

    /// Whether a token is special: never produced by [`encode`](Self::encode) from its content.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        // In order without the top bit, which alone says that a token is ordinary.
        let entry = |entry: &Le32| u32::from_le_bytes(*entry);
        let found = self.added.binary_search_by_key(&id, |added| entry(added) & !ORDINARY);
        found.ok().and_then(|at| self.added.get(at)).is_some_and(|added| entry(added) == id)
    }

    /// The special token with this content, such as `<|user|>`.
    #[must_use]
    pub fn special(&self, name: &str) -> Option<u32> {
        self.specials().find(|&(_, content)| content == name.as_bytes()).map(|(id, _)| id)
    }

    /// The special tokens, by ascending id, with their content.
    pub fn specials(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        self.added().filter(|(entry, _)| entry & ORDINARY == 0)
    }

    /// The entries of the added tokens, with their content.
    fn added(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let entries = self.added.iter().map(|entry| u32::from_le_bytes(*entry));
        entries.filter_map(|entry| Some((entry, self.piece(entry & !ORDINARY)?)))
    }

    /// The first added token in a text, with the text before and after it: the leftmost, and the
    /// longest where several start.
    #[must_use]
    pub fn next_added<'t>(&self, text: &'t str, which: Added) -> Option<(&'t str, u32, &'t str)> {
        let (at, id, length) = text.bytes().enumerate().find_map(|(at, byte)| {
            let found = self.starts_added(byte).then(|| text.as_bytes().get(at..))??;
            self.longest_added(found, which).map(|(id, length)| (at, id, length))
        })?;
        // Added tokens are UTF-8, so one that matches starts and ends between characters.
        let (before, found) = text.split_at_checked(at)?;
        let (_, after) = found.split_at_checked(length)?;
        Some((before, id, after))
    }

    fn longest_added(&self, text: &[u8], which: Added) -> Option<(u32, usize)> {
        let wanted = |entry: u32| which == Added::All || entry & ORDINARY != 0;
        let matching =
            self.added().filter(|(entry, content)| wanted(*entry) && text.starts_with(content));
        let lengths = matching.map(|(entry, content)| (entry & !ORDINARY, content.len()));
        // Of equal contents the lowest id wins.
        lengths.reduce(|best, next| if next.1 > best.1 { next } else { best })
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

    /// The token that stands for a whole word without merging.
    pub(super) fn whole_word(&self, word: Word<'_>) -> Option<u32> {
        if !FAMILIES {
            return None;
        }
        let id = |entry: &Le32| u32::from_le_bytes(*entry);
        let at = self.whole_words.binary_search_by(|entry| {
            let piece = self.piece(id(entry)).unwrap_or_default();
            piece.iter().copied().cmp(word.bytes())
        });
        self.whole_words.get(at.ok()?).map(id)
    }

    /// Whether some added token starts with this byte.
    fn starts_added(&self, byte: u8) -> bool {
        let bits = self.added_starts.get(usize::from(byte / 32));
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

    /// Checks the added tokens and notes what they start with.
    fn check_added(&mut self) -> Result<(), TokenizerError> {
        let mut before = None;
        for (index, entry) in self.added.iter().enumerate() {
            let entry = u32::from_le_bytes(*entry);
            let id = entry & !ORDINARY;
            let content = self.piece(id).filter(|piece| core::str::from_utf8(piece).is_ok());
            let start = content.and_then(<[u8]>::first).copied();
            let (Some(start), true) = (start, before < Some(id)) else {
                return Err(TokenizerError::Added { index });
            };
            before = Some(id);
            if let Some(bits) = self.added_starts.get_mut(usize::from(start / 32)) {
                *bits |= 1 << (start % 32);
            }
        }
        Ok(())
    }

    fn check_whole_words(&self) -> Result<(), TokenizerError> {
        let mut before: &[u8] = &[];
        for (index, entry) in self.whole_words.iter().enumerate() {
            // The first may not be empty, so none is.
            match self.piece(u32::from_le_bytes(*entry)) {
                Some(piece) if before < piece => before = piece,
                _ => return Err(TokenizerError::WholeWord { index }),
            }
        }
        Ok(())
    }
}

/// Whether what only other families than GPT-2's need is built in.
const FAMILIES: bool = cfg!(feature = "families");

fn check_header(kind: u32, pre: u32, flags: u32) -> Result<PreTokenizer, TokenizerError> {
    if kind != KIND_BYTE_BPE {
        return Err(TokenizerError::Kind(kind));
    }
    if flags & !(FLAG_ADD_PREFIX_SPACE | FLAG_NFC) != 0 {
        return Err(TokenizerError::Flags(flags));
    }
    PreTokenizer::from_id(pre)
}
