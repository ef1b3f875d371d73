//! Any bytes as the JSON files of a Hugging Face folder: an error or a result, nothing else.
#![no_main]

use demask_std::read::{generation::GenerationDefaults, hf_config::HfConfig, tokenizer_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, json)) = data.split_first() else { return };
    if choice % 2 == 0 {
        let _ = HfConfig::parse(json, GenerationDefaults::default());
    } else if let Ok(tokenizer) = tokenizer_json::parse(json) {
        let _ = tokenizer.to_section();
    }
});
