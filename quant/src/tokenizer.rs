//! Writes the tokenizer section of an image. Its bytes are described in [`demask::text`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;

use demask::text::{
    FLAG_ADD_PREFIX_SPACE, FLAG_NFC, KIND_BYTE_BPE, NO_TOKEN, ORDINARY, Tokenizer, TokenizerError,
};

pub use demask::text::PreTokenizer;

/// A byte-level BPE tokenizer, in the form in which readers hand it over.
///
/// ```
/// use demask::text::Tokenizer;
/// use demask_quant::tokenizer::TokenizerData;
///
/// let data = TokenizerData {
///     pieces: vec![b"a".to_vec(), b"b".to_vec(), b"ab".to_vec(), b"<|end|>".to_vec()],
///     merges: vec![(0, 1)],
///     specials: vec![3],
///     ..TokenizerData::default()
/// };
/// let section = data.to_section()?;
/// let mut ids = [0; 4];
/// assert_eq!(Tokenizer::parse(&section)?.encode("aba", &mut ids)?, 2);
/// assert_eq!(ids[..2], [2, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerData {
    /// The bytes of each token, by id; empty for an id that the vocabulary leaves out.
    pub pieces: Vec<Vec<u8>>,
    /// The pairs that merge, the first to merge first. The result is the token whose piece is the
    /// two pieces put together.
    pub merges: Vec<(u32, u32)>,
    /// Ids of the special tokens, in any order; their pieces are their content.
    pub specials: Vec<u32>,
    /// Ids of added tokens that are ordinary text: found in every text, and kept when it is decoded.
    pub ordinary: Vec<u32>,
    /// Whether a word that is a token is taken whole, whatever merging would make of it.
    pub ignore_merges: bool,
    /// How a text is cut into words.
    pub pre_tokenizer: PreTokenizer,
    /// Whether a text that does not start with a space is read as if it did.
    pub add_prefix_space: bool,
    /// Whether a text is brought into normalization form C first.
    pub nfc: bool,
    /// Tokens that stand before a text, such as a BOS. Not in the section: the image's prompt has
    /// them.
    pub prefix: Vec<u32>,
    /// Tokens that stand behind a text.
    pub suffix: Vec<u32>,
}

/// Why a tokenizer cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerWriteError {
    /// More ids, merges or piece bytes than the format can count (2^32 - 1).
    TooLarge,
    /// Two tokens that were not added have the same bytes, so merges could mean either.
    DuplicatePiece {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A merge names an id outside the vocabulary, or one with an empty piece.
    MergePart {
        /// Rank of the merge.
        rank: usize,
        /// The id.
        id: u32,
    },
    /// The result of a merge is not in the vocabulary.
    MergeResult {
        /// Rank of the merge.
        rank: usize,
        /// The bytes that no token has.
        piece: Vec<u8>,
    },
    /// The same pair merges twice.
    DuplicateMerge {
        /// Rank of the second one.
        rank: usize,
    },
    /// Two added tokens have the same id or the same content.
    DuplicateAdded {
        /// The (higher) id.
        id: u32,
    },
    /// What was written breaks the format (a special that is not UTF-8, for one).
    Refused(TokenizerError),
}

impl fmt::Display for TokenizerWriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the tokenizer has more than 2^32 - 1 of something"),
            Self::DuplicatePiece { first, second } => {
                write!(f, "tokens {first} and {second} have the same bytes")
            }
            Self::MergePart { rank, id } => {
                write!(f, "merge {rank} uses token {id}, which is not in the vocabulary")
            }
            Self::MergeResult { rank, piece } => write!(
                f,
                "merge {rank} makes \"{}\", which is not in the vocabulary",
                piece.escape_ascii()
            ),
            Self::DuplicateMerge { rank } => {
                write!(f, "merge {rank} merges a pair that an earlier one already merges")
            }
            Self::DuplicateAdded { id } => {
                write!(f, "added token {id} is given twice, or another one has its content")
            }
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl Error for TokenizerWriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

impl TokenizerData {
    /// The section, ready to be put into an image. The same data always gives the same bytes, and
    /// [`Tokenizer::parse`] accepts them.
    ///
    /// # Errors
    ///
    /// [`TokenizerWriteError`] for what the format cannot express.
    pub fn to_section(&self) -> Result<Vec<u8>, TokenizerWriteError> {
        let section = self.section_with(&[])?;
        if !self.ignore_merges {
            return Ok(section);
        }
        let merging = Tokenizer::parse(&section).map_err(TokenizerWriteError::Refused)?;
        self.section_with(&self.whole_words(&merging))
    }

    /// The tokens, ascending by their bytes, that merging their bytes does not give. Long ones are
    /// listed untried: that changes no token, and trying takes time.
    fn whole_words(&self, merging: &Tokenizer<'_>) -> Vec<u32> {
        const LONG: usize = 256;
        let added: HashSet<u32> = self.specials.iter().chain(&self.ordinary).copied().collect();
        let mut room = Vec::new();
        let mut is_whole = |&(id, piece): &(u32, &Vec<u8>)| {
            room.resize(2 * piece.len().min(LONG), 0);
            let tried = piece.len() > LONG || merging.merge_bytes(piece, &mut room) != Ok(&[id]);
            !added.contains(&id) && tried
        };
        let pieces = (0..).zip(&self.pieces).filter(|(_, piece)| !piece.is_empty());
        let mut whole: Vec<_> = pieces.filter(&mut is_whole).collect();
        whole.sort_unstable_by_key(|&(_, piece)| piece);
        whole.into_iter().map(|(id, _)| id).collect()
    }

    fn section_with(&self, whole_words: &[u32]) -> Result<Vec<u8>, TokenizerWriteError> {
        let added = self.added()?;
        let ids = self.ids_by_piece(&added)?;
        let merges = self.sorted_merges(&ids)?;
        let blob: usize = self.pieces.iter().map(Vec::len).sum();

        let mut section = Section::default();
        section.word(KIND_BYTE_BPE);
        section.word(self.pre_tokenizer.id());
        section.word(
            u32::from(self.add_prefix_space) * FLAG_ADD_PREFIX_SPACE
                + u32::from(self.nfc) * FLAG_NFC,
        );
        for count in [self.pieces.len(), merges.len(), added.len(), blob, whole_words.len()] {
            section.word(u32::try_from(count).map_err(|_| TokenizerWriteError::TooLarge)?);
        }

        for byte in 0..=u8::MAX {
            section.word(ids.get([byte].as_slice()).copied().unwrap_or(NO_TOKEN));
        }
        let mut offset = 0;
        section.word(offset);
        for piece in &self.pieces {
            // The sum of all of them fits, so does each part of it.
            offset += piece.len() as u32;
            section.word(offset);
        }
        merges.into_iter().flatten().for_each(|word| section.word(word));
        added.into_iter().for_each(|(id, bit)| section.word(id | bit));
        whole_words.iter().for_each(|&id| section.word(id));
        self.pieces.iter().for_each(|piece| section.0.extend_from_slice(piece));
        section.0.resize(section.0.len().next_multiple_of(4), 0);

        match Tokenizer::parse(&section.0) {
            Ok(_) => Ok(section.0),
            Err(error) => Err(TokenizerWriteError::Refused(error)),
        }
    }

    /// The added tokens by ascending id, each with its [`ORDINARY`] bit.
    fn added(&self) -> Result<Vec<(u32, u32)>, TokenizerWriteError> {
        let specials = self.specials.iter().map(|&id| (id, 0));
        let mut added: Vec<_> =
            specials.chain(self.ordinary.iter().map(|&id| (id, ORDINARY))).collect();
        added.sort_unstable();
        match added.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(TokenizerWriteError::DuplicateAdded { id: pair[0].0 }),
            // The bit leaves no room for it; no vocabulary comes near.
            None if added.iter().any(|(id, _)| id & ORDINARY != 0) => {
                Err(TokenizerWriteError::TooLarge)
            }
            None => Ok(added),
        }
    }

    /// The token of each byte string. An added one steps back behind another token with its bytes.
    fn ids_by_piece(
        &self,
        added: &[(u32, u32)],
    ) -> Result<HashMap<&[u8], u32>, TokenizerWriteError> {
        let is_added = |id: u32| added.binary_search_by_key(&id, |(id, _)| *id).is_ok();
        let mut ids: HashMap<&[u8], u32> = HashMap::with_capacity(self.pieces.len());
        let mut contents: HashMap<&[u8], u32> = HashMap::new();
        for (id, piece) in (0..).zip(&self.pieces).filter(|(_, piece)| !piece.is_empty()) {
            if is_added(id) && contents.insert(piece, id).is_some() {
                return Err(TokenizerWriteError::DuplicateAdded { id });
            }
            match ids.entry(piece) {
                Entry::Vacant(free) => _ = free.insert(id),
                Entry::Occupied(mut taken) if is_added(*taken.get()) => _ = taken.insert(id),
                Entry::Occupied(_) if is_added(id) => {}
                Entry::Occupied(taken) => {
                    let first = *taken.get();
                    return Err(TokenizerWriteError::DuplicatePiece { first, second: id });
                }
            }
        }
        Ok(ids)
    }

    /// `[left, right, rank, id]` of each merge, ascending by (left, right).
    fn sorted_merges(
        &self,
        ids: &HashMap<&[u8], u32>,
    ) -> Result<Vec<[u32; 4]>, TokenizerWriteError> {
        let part = |rank, id: u32| match self.pieces.get(id as usize) {
            Some(piece) if !piece.is_empty() => Ok(piece),
            _ => Err(TokenizerWriteError::MergePart { rank, id }),
        };
        let mut merges = Vec::with_capacity(self.merges.len());
        for (rank, &(left, right)) in self.merges.iter().enumerate() {
            let piece = [part(rank, left)?.as_slice(), part(rank, right)?.as_slice()].concat();
            let Some(&id) = ids.get(piece.as_slice()) else {
                return Err(TokenizerWriteError::MergeResult { rank, piece });
            };
            let number = u32::try_from(rank).map_err(|_| TokenizerWriteError::TooLarge)?;
            merges.push([left, right, number, id]);
        }
        merges.sort_unstable();
        // Ranks ascend within a pair, so the second of two is the later one.
        match merges.windows(2).find(|pair| pair[0][..2] == pair[1][..2]) {
            Some(pair) => Err(TokenizerWriteError::DuplicateMerge { rank: pair[1][2] as usize }),
            None => Ok(merges),
        }
    }
}

/// Bytes under construction.
#[derive(Default)]
struct Section(Vec<u8>);

impl Section {
    fn word(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|piece| piece.as_bytes().to_vec()).collect()
    }

    fn data() -> TokenizerData {
        TokenizerData {
            pieces: pieces(&["<|end|>", "a", "b", "ab", "", "abab", "a"]),
            merges: vec![(1, 2), (3, 3)],
            specials: vec![6, 0],
            ..TokenizerData::default()
        }
    }

    #[test]
    fn writes_what_the_core_reads() {
        let section = data().to_section().unwrap();
        assert_eq!(section, data().to_section().unwrap());
        let tokenizer = Tokenizer::parse(&section).unwrap();
        assert_eq!(tokenizer.vocab_len(), 7);
        assert_eq!(tokenizer.piece(3), Some(b"ab".as_slice()));
        assert_eq!(tokenizer.piece(4), Some(b"".as_slice()), "a gap");
        assert_eq!(tokenizer.special("<|end|>"), Some(0));
        let mut ids = [0; 8];
        // The token "a" wins over the special "a" for the byte, and the special in the text.
        let count = tokenizer.encode("ababa", &mut ids).unwrap();
        assert_eq!(ids[..count], [5, 1]);
        let count = tokenizer.encode_with_specials("bab", &mut ids).unwrap();
        assert_eq!(ids[..count], [2, 6, 2]);
    }

    #[test]
    fn refuses_what_the_format_cannot_say() {
        let refusal = |change: &dyn Fn(&mut TokenizerData)| {
            let mut data = data();
            change(&mut data);
            data.to_section().unwrap_err()
        };
        use TokenizerWriteError as E;
        assert_eq!(
            refusal(&|data| data.merges.push((2, 1))),
            E::MergeResult { rank: 2, piece: b"ba".to_vec() }
        );
        assert_eq!(refusal(&|data| data.merges.push((4, 1))), E::MergePart { rank: 2, id: 4 });
        assert_eq!(refusal(&|data| data.merges.push((1, 9))), E::MergePart { rank: 2, id: 9 });
        assert_eq!(refusal(&|data| data.merges.push((1, 2))), E::DuplicateMerge { rank: 2 });
        assert_eq!(refusal(&|data| data.specials.push(0)), E::DuplicateAdded { id: 0 });
        assert_eq!(
            refusal(&|data| data.pieces.push(b"ab".to_vec())),
            E::DuplicatePiece { first: 3, second: 7 }
        );
        assert_eq!(
            refusal(&|data| data.specials.push(4)),
            E::Refused(TokenizerError::Added { index: 1 })
        );
        assert_eq!(
            refusal(&|data| data.specials.push(7)),
            E::Refused(TokenizerError::Added { index: 2 })
        );
    }
}
