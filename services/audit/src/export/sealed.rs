//! The hash that an answer in Parquet carries at its end: of all of the file but itself, whose digits count as zeros.
//!
//! Why it is so: services/audit/README.md#an-answer-carries-its-own-hash

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use anyhow::{Context, Result, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::blocks::hex;
use crate::seal::Sealed;

/// What the hash is called at the end of the file.
pub const NAME: &str = "answer_sha256";

/// What stands for it before it is known.
pub const NOT_YET: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a Parquet file begins with, and what it ends with behind the length of its end.
const MAGIC: &[u8; 4] = b"PAR1";

/// Bytes of the end of a file, at most: of an answer it is some kilobytes, and 200 of each group of rows and column.
const END_MAX: u64 = 64 << 20;

/// Whether it looks like a Parquet file.
#[must_use]
pub fn is_parquet(file: &mut File) -> bool {
    let mut first = [0; MAGIC.len()];
    let is = file.read_exact(&mut first).is_ok_and(|()| first == *MAGIC);
    file.rewind().is_ok() && is
}

/// Puts the hash into a file that was written with [`NOT_YET`] in its place.
///
/// # Errors
/// It has no such place, or cannot be written.
pub fn put(file: &mut File) -> Result<()> {
    let (place, said) = place(file)?;
    ensure!(said == NOT_YET.as_bytes(), "the file has a hash already");
    let sha256 = sha256(file, place)?;
    file.seek(SeekFrom::Start(place))?;
    file.write_all(sha256.as_bytes()).context("writing the hash")
}

/// Checks an answer in Parquet.
///
/// # Errors
/// It has no hash, or cannot be read.
pub fn check(mut file: File) -> Result<Sealed> {
    let (place, said) = place(&mut file).context(
        "it has no evidence with a SHA-256: it is no answer of an audit, only a part of one, or was written by an earlier release",
    )?;
    let sha256 = sha256(&mut file, place)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let ok = sha256 == said;
    // Of a file that was changed nothing is believed.
    let command = if ok { command(file).unwrap_or_default() } else { String::new() };
    Ok(Sealed { ok, sha256, said, command })
}

/// Where the digits of the hash are, and what they are.
fn place(file: &mut File) -> Result<(u64, Vec<u8>)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut last = [0; 8];
    file.seek(SeekFrom::Start(length.saturating_sub(8)))?;
    file.read_exact(&mut last)?;
    let [a, b, c, d, magic @ ..] = last;
    ensure!(magic == *MAGIC, "it does not end as a Parquet file does");
    let end = u64::from(u32::from_le_bytes([a, b, c, d]));
    let begins = length.checked_sub(8 + end).filter(|_| end <= END_MAX).context("its end is longer than it may be")?;
    file.seek(SeekFrom::Start(begins))?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(end).read_to_end(&mut bytes)?;
    let name = bytes.windows(NAME.len()).rposition(|part| part == NAME.as_bytes()).context("it has no hash")?;
    // Behind the name stand the type of the value and its length, a byte each.
    let at = name + NAME.len() + 2;
    let digits = bytes.get(at..at + NOT_YET.len()).context("its hash is cut off")?;
    Ok((begins + u64::try_from(at)?, digits.to_vec()))
}

/// The hash of a file, the digits at this place counted as zeros.
fn sha256(file: &mut File, place: u64) -> Result<String> {
    file.rewind()?;
    let mut hash = Sha256::new();
    io::copy(&mut Read::by_ref(file).take(place), &mut hash)?;
    hash.update(NOT_YET);
    file.seek(SeekFrom::Start(place + u64::try_from(NOT_YET.len())?))?;
    io::copy(file, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

/// The command that gives the same again, as its evidence says.
fn command(file: File) -> Option<String> {
    let file = SerializedFileReader::new(file).ok()?;
    let said = file.metadata().file_metadata().key_value_metadata()?;
    let evidence = said.iter().find(|said| said.key == "evidence")?.value.as_ref()?;
    let evidence: Value = serde_json::from_str(evidence).ok()?;
    evidence.get("asked")?.get("command")?.as_str().map(str::to_owned)
}
