//! Random bytes of the kernel, for names that nobody can guess or take before.

use std::fs::File;
use std::io::{self, Read as _};

/// Fills a buffer.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// A name of 32 hexadecimal digits.
pub fn name() -> io::Result<String> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
