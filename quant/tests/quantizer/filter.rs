//! An image with a FILTER section is read back, repacked and refused like any other.

use crate::common::{
    Aligned, RandomWeights, image_with, reseal, section_at, sections_of_every_kind,
};
use demask::image::{ImageError, ModelImage, SectionKind};
use demask::packed::{Format, Layout};
use demask_quant::{
    FilterData, Quantization, Sections, WriteError, pack_image, repack, write_image,
};
use std::io::Cursor;

fn filter() -> FilterData {
    let numbers = (0..2 * 5 * 3 + 5 + 3).map(|i| i as f32 * 0.25 - 4.0).collect();
    FilterData { block: 5, hidden: 3, numbers }
}

fn sections() -> Sections {
    Sections { filter: Some(filter()), ..sections_of_every_kind() }
}

fn image() -> Aligned {
    image_with(&sections(), Quantization::uniform(Format::Q8), 1)
}

#[test]
fn a_filter_reads_back_and_is_all_that_differs() {
    let (bytes, plain) =
        (image(), image_with(&sections_of_every_kind(), Quantization::uniform(Format::Q8), 1));
    let parsed = ModelImage::parse(&bytes).unwrap();
    let read = parsed.filter().unwrap().unwrap();
    assert_eq!(FilterData::from(read), filter());
    assert_eq!(ModelImage::parse(&plain).unwrap().filter(), Ok(None));
    // Version 1.1 says so; without the section nothing has changed since 1.0.
    assert_eq!(
        (bytes[8..12].to_vec(), plain[8..12].to_vec()),
        (vec![1, 0, 1, 0], vec![1, 0, 0, 0])
    );
    let kinds = |image: &ModelImage<'_>| -> Vec<_> {
        image.header().sections(image.as_bytes()).map(|section| section.kind).collect()
    };
    assert_eq!(kinds(&parsed).last(), Some(&Some(SectionKind::Filter)));
    for (with, without) in parsed.tensors().zip(ModelImage::parse(&plain).unwrap().tensors()) {
        assert_eq!(with.bytes, without.bytes);
    }
}

#[test]
fn it_stays_when_an_image_is_packed_for_another_processor() {
    let mut bytes = image();
    repack(&mut bytes, Layout::Dsp).unwrap();
    let parsed = ModelImage::parse(&bytes).unwrap();
    assert_eq!(FilterData::from(parsed.filter().unwrap().unwrap()), filter());
    let quantization = Quantization { layout: Layout::Dsp, ..Quantization::uniform(Format::Q8) };
    assert_eq!(bytes[..], image_with(&sections(), quantization, 1)[..]);
}

#[test]
fn in_memory_it_is_the_same_but_for_digests() {
    let all = sections();
    let source = RandomWeights { seed: 1, config: all.config };
    let quantization = Quantization::uniform(Format::Q8);
    let packed = pack_image(&all, quantization, &source, 2, &|_, _| ()).unwrap();
    let mut packed = Aligned::copy_of(packed.bytes());
    reseal(&mut packed);
    assert_eq!(packed[..], image()[..]);
}

#[test]
fn damage_is_found() {
    let (start, _) = section_at(&image(), SectionKind::Filter);
    let refusal = |at: usize, word: u32| {
        let mut bytes = image();
        bytes[start + at..][..4].copy_from_slice(&word.to_le_bytes());
        assert!(matches!(ModelImage::parse(&bytes), Err(ImageError::Digest { .. })), "{at}");
        reseal(&mut bytes);
        // A reader that needs no filter is not troubled by it.
        ModelImage::parse(&bytes).unwrap().filter().unwrap_err()
    };
    assert_eq!(refusal(0, 2), ImageError::Filter("unknown kind"));
    assert_eq!(refusal(4, 6), ImageError::Filter("length"));
    assert_eq!(refusal(8, 0), ImageError::Filter("hidden width"));
    assert_eq!(refusal(12, 1), ImageError::Filter("reserved field not zero"));
    assert_eq!(refusal(40, f32::NAN.to_bits()), ImageError::Filter("a number is not finite"));
    let error = ImageError::Filter("length");
    assert_eq!(error.to_string(), "the FILTER section is wrong: length");
}

#[test]
fn what_is_no_filter_is_not_written() {
    let broken = FilterData { numbers: vec![0.0; 3], ..filter() };
    let sections = Sections { filter: Some(broken), ..sections_of_every_kind() };
    let source = RandomWeights { seed: 1, config: sections.config };
    let (quantization, mut out) = (Quantization::uniform(Format::Q8), Cursor::new(Vec::new()));
    let written = write_image(&sections, quantization, &source, &mut out, 1, &mut |_| ());
    let Err(WriteError::Config(error)) = written else { panic!("it was written") };
    assert_eq!(error, ImageError::Filter("length"));
    assert!(out.get_ref().is_empty());
}
