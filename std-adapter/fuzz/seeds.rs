//! Writes a small corpus for the fuzz target `gguf`: a fuzzer would not guess a header whose counts
//! add up.

#[path = "../tests/gguf_files/mod.rs"]
mod gguf_files;

use demask_quant::ggml::GgmlType;
use gguf_files::Model;
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gguf");
    fs::create_dir_all(&corpus)?;
    for (choice, architecture) in
        [(255u8, "llada"), (3, "dream"), (0x29, "qwen2"), (0x15, "qwen3"), (8, "llama")]
    {
        for stored_as in [GgmlType::Q4_0, GgmlType::Q8_0, GgmlType::MXFP4] {
            let model = Model::new(architecture, stored_as);
            let file = [&[choice], model.bytes().as_slice()].concat();
            fs::write(corpus.join(format!("{architecture}-{stored_as}.gguf")), file)?;
        }
    }
    // Every type, only as a tensor: small and quick to mutate.
    let mut small = Model { metadata: Vec::new(), tensors: Vec::new() };
    small.set("general.architecture", "llada-moe");
    small.set("general.alignment", 8u32);
    small.set("split.count", 1u16);
    small.set("a.list", &[1u32, 2, 3][..]);
    for stored_as in GgmlType::ALL {
        let values = stored_as.block_values() as u64;
        small.add(&format!("x.{stored_as}"), &[values, 1, 2], stored_as);
    }
    fs::write(corpus.join("types.gguf"), [&[0], small.bytes().as_slice()].concat())?;
    println!("seeds are in {}", corpus.display());
    Ok(())
}
