//! Streams of every format, with bombs and damaged ones.

#![allow(clippy::unwrap_used)]
use super::*;
use std::io::Write as _;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(stream: Vec<u8>, free: u64) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let stream = decompressor_within(Box::new(Cursor::new(stream)), free).map_err(std::io::Error::other)?;
    stream.0.take(1 << 30).read_to_end(&mut plain)?;
    Ok(plain)
}

/// A function that compresses.
type Make = fn(&[u8]) -> Vec<u8>;
const ALL: [(Format, Make); 4] = [(Format::Gzip, gzip), (Format::Zstd, zstd), (Format::Bzip2, bzip2), (Format::Xz, xz)];

#[test]
fn several_members_are_one_stream() {
    for (format, make) in ALL {
        let stream = [make(b"one, "), make(b""), make(b"two")].concat();
        assert_eq!(format_of(&stream), format);
        assert_eq!(read(stream, FREE).unwrap(), b"one, two", "{format:?}");
    }
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    for (format, make) in ALL {
        let whole = make(b"some text");
        for at in 6..whole.len() {
            assert!(read(whole[..at].to_vec(), FREE).is_err(), "{format:?} cut at {at}");
        }
    }
}

#[test]
fn what_follows_a_stream_and_is_none_is_an_error() {
    for (format, make) in ALL {
        assert!(read([make(b"text"), b"garbage, and more of it".to_vec()].concat(), FREE).is_err(), "{format:?}");
    }
}

#[test]
fn a_bomb_is_refused_and_a_small_stream_of_zeros_is_not() {
    let zeros = vec![0; 32 << 20];
    for (format, make) in ALL {
        let bomb = make(&zeros);
        assert!(bomb.len() * 200 < zeros.len(), "{format:?}: the test needs a bomb");
        assert_eq!(read(bomb.clone(), FREE).unwrap().len(), zeros.len(), "{format:?}");
        let error = read(bomb, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("bomb"), "{format:?}: {error}");
    }
    let text: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
    assert!(read(gzip(&text), 1 << 20).unwrap() == text);
}

#[test]
fn a_dictionary_that_is_too_large_is_refused_before_it_is_made() {
    let mut options = lzma_rust2::XzOptions::with_preset(0);
    options.lzma_options.dict_size = 1 << 20;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(b"text").unwrap();
    let mut stream = encoder.finish().unwrap();
    assert_eq!(read(stream.clone(), FREE).unwrap(), b"text");
    // The block header at byte 12: size, flags, LZMA2's id, one byte of properties, the dictionary
    // size, and a CRC at the end.
    assert_eq!(stream[14..16], [0x21, 1]);
    stream[16] = 40;
    let end = 12 + (usize::from(stream[12]) + 1) * 4 - 4;
    let mut crc = flate2::Crc::new();
    crc.update(&stream[12..end]);
    stream[end..end + 4].copy_from_slice(&crc.sum().to_le_bytes());
    let error = read(stream, FREE).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
}
