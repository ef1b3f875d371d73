//! Writes a small corpus for the fuzz targets `image` and `tokenizer`: a fuzzer would not guess a
//! magic number, nor a table that adds up.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{SMALLEST, image, small_image, tokenizer};
use demask::image::{ModelConfig, RopePairs};
use demask::packed::Format;
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let images = corpus.join("image");
    fs::create_dir_all(&images)?;
    for format in [Format::F32, Format::F16, Format::Q8, Format::Q4] {
        let path = |shape: &str| images.join(format!("{shape}-{}.dmk", format.name()));
        fs::write(path("every-section"), &small_image(format)[..])?;
        let untied = ModelConfig { tied_head: false, heads: 4, kv_heads: 2, ..SMALLEST };
        fs::write(path("untied"), &image(untied, format, 2)[..])?;
        let deep = ModelConfig { layers: 2, rope_pairs: RopePairs::Adjacent, ..SMALLEST };
        fs::write(path("two-layers"), &image(deep, format, 3)[..])?;
    }

    // A tokenizer's input is a text, its length in front, and a section.
    let tokenizers = corpus.join("tokenizer");
    fs::create_dir_all(&tokenizers)?;
    let mut spaced = tokenizer();
    spaced.add_prefix_space = true;
    spaced.ordinary = vec![10];
    let sections = [tokenizer().to_section(), spaced.to_section()].map(Result::unwrap);
    for (index, section) in sections.iter().enumerate() {
        for text in ["", "abcabd", "ab<end>c ab", "a  b\n"] {
            let input = [&[text.len() as u8], text.as_bytes(), section].concat();
            fs::write(tokenizers.join(format!("{index}-{}", text.len())), input)?;
        }
    }
    println!("seeds are in {}", corpus.display());
    Ok(())
}
