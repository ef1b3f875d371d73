//! Any bytes as a tokenizer section, and a text for it: refused, or the text comes back.
#![no_main]

use demask::text::{Added, FLAG_ADD_PREFIX_SPACE, Specials, Tokenizer, Utf8Stream};
use libfuzzer_sys::fuzz_target;

/// Cuts or extends a section to the length that its header gives, if that is a small one.
fn fit(section: &mut Vec<u8>) {
    let Some(header) = section.first_chunk::<32>() else { return };
    let count = |at: usize| {
        u64::from(u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
    };
    let [pieces, merges, added, bytes, whole] = [12, 16, 20, 24, 28].map(count);
    let words = 8 + 256 + pieces + 1 + 4 * merges + added + whole;
    let length = 4 * words + bytes.next_multiple_of(4);
    if length < 1 << 14 {
        section.resize(length as usize, 0);
    }
}

/// The bytes that the ids stand for.
fn spelled(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> Vec<u8> {
    ids.iter()
        .flat_map(|&id| tokenizer.piece(id).expect("an id of the vocabulary").to_vec())
        .collect()
}

/// The text that encoding stands for: with a prefix space, each part between added tokens has one.
fn read_as(tokenizer: &Tokenizer<'_>, mut text: &str, spaced: bool) -> String {
    let with_space = |part: &str| match spaced && !part.is_empty() && !part.starts_with(' ') {
        true => format!(" {part}"),
        false => part.to_owned(),
    };
    let mut all = String::new();
    while let Some((before, _, after)) = tokenizer.next_added(text, Added::Ordinary) {
        all += &with_space(before);
        all += &text[before.len()..text.len() - after.len()];
        text = after;
    }
    all + &with_space(text)
}

fn check(section: &[u8], text: &str) {
    let Ok(tokenizer) = Tokenizer::parse(section) else { return };
    let mut ids = vec![0; 2 * text.len() + 2];
    if let Ok(count) = tokenizer.encode(text, &mut ids) {
        let bytes = spelled(&tokenizer, &ids[..count]);
        let flags = u32::from_le_bytes([section[8], section[9], section[10], section[11]]);
        let spaced = flags & FLAG_ADD_PREFIX_SPACE != 0;
        assert_eq!(bytes, read_as(&tokenizer, text, spaced).as_bytes());

        // Less room for ranks, the same ids.
        let mut tight = vec![0; text.len() + 1];
        assert_eq!(tokenizer.encode(text, &mut tight), Ok(count));
        assert_eq!(tight[..count], ids[..count]);

        let (mut stream, mut back) = (Utf8Stream::new(), String::new());
        for id in &ids[..count] {
            let sink = |part: &str| back.push_str(part);
            tokenizer.decode(&[*id], Specials::Render, &mut stream, sink).unwrap();
        }
        stream.finish(|part| back.push_str(part));
        assert_eq!(back.as_bytes(), bytes);
    }
    let _ = tokenizer.encode(text, &mut ids[..text.len() / 2]);
    if let Ok(count) = tokenizer.encode_with_specials(text, &mut ids) {
        spelled(&tokenizer, &ids[..count]);
    }
    assert!(tokenizer.specials().all(|(_, content)| !content.is_empty()));
    let specials = (0..tokenizer.vocab_len()).filter(|&id| tokenizer.is_special(id));
    assert!(tokenizer.specials().map(|(id, _)| id).eq(specials));
}

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else { return };
    let (text, section) = rest.split_at(rest.len().min(usize::from(*length)));
    let text = String::from_utf8_lossy(text);
    check(section, &text);
    let mut section = section.to_vec();
    fit(&mut section);
    check(&section, &text);
});
