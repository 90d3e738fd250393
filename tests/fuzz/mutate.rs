//! New inputs from known ones: bytes, words, lines, numbers and fields, changed by chance.

use std::ops::Range;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    engine::INPUT_BYTES_MAX,
    fields,
    targets::{Shape, Target},
};

/// Bytes at which something begins or ends.
const BYTES: &[u8] = b"\0\x01\t\n\r\x1b \"'#,-./09:;<=>@AZ[\\]_az{}\x7f\x80\xc0\xef\xff";

/// Numbers at which something ends.
const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "1",
    "-1",
    "00",
    "1.5",
    "65",
    "256",
    "1001",
    "65537",
    "1000001",
    "604801",
    "2147483647",
    "2147483648",
    "-2147483649",
    "1000000001",
    "1000000000001",
    "253402300800",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "340282366920938463463374607431768211456",
    "1e400",
];

/// An input made from another, and perhaps from parts of a third.
pub(crate) fn mutated(rng: &mut StdRng, target: &Target, from: &[u8], other: &[u8]) -> Vec<u8> {
    let mut input = from.to_vec();
    for _ in 0..1 << rng.random_range(0..4) {
        let (head, body) = split(target, &input);
        let head = another_head(rng, target).unwrap_or_else(|| head.to_vec());
        let body = match target.shape {
            Shape::Fields if rng.random_ratio(3, 4) => fields::mutated(rng, body, target.tokens),
            Shape::Fields | Shape::Text => changed(rng, target, body, split(target, other).1),
        };
        input = [head, body].concat();
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

/// An input's first line, if it says what the rest is, and the rest.
fn split<'a>(target: &Target, input: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let has_head = !(target.heads)().is_empty();
    let end = input.iter().position(|byte| *byte == b'\n').filter(|_| has_head).map_or(0, |end| end + 1);
    input.split_at(end)
}

fn another_head(rng: &mut StdRng, target: &Target) -> Option<Vec<u8>> {
    if !rng.random_ratio(1, 32) {
        return None;
    }
    (target.heads)().choose(rng).map(|head| format!("{head}\n").into_bytes())
}

fn changed(rng: &mut StdRng, target: &Target, body: &[u8], other: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let at = rng.random_range(0..=body.len());
    let part = part(rng, body.len());
    match rng.random_range(0..14) {
        0 => flip(rng, &mut body),
        1 => set(rng, &mut body),
        2 => body.insert(at, *BYTES.choose(rng).unwrap()),
        3 => drop(body.drain(part)),
        4 => drop(body.splice(at..at, body.clone()[part].to_vec())),
        5 => {
            let times = 1 << rng.random_range(0..11);
            let copies = body[part].repeat(times);
            drop(body.splice(at..at, copies.into_iter().take(INPUT_BYTES_MAX)));
        }
        6 => {
            let from = rng.random_range(0..=other.len());
            body.truncate(at);
            body.extend(&other[from..]);
        }
        7 => {
            let from = self::part(rng, other.len());
            drop(body.splice(part, other[from].to_vec()));
        }
        8 | 9 => drop(body.splice(at..at, token(rng, target))),
        10 => drop(body.splice(part, token(rng, target))),
        11 | 12 => number(rng, &mut body),
        _ => lines(rng, &mut body),
    }
    body
}

fn token(rng: &mut StdRng, target: &Target) -> Vec<u8> {
    target.tokens.choose(rng).map_or(Vec::new(), |token| token.as_bytes().to_vec())
}

/// A part of so many bytes, short more often than long.
fn part(rng: &mut StdRng, bytes: usize) -> Range<usize> {
    let start = rng.random_range(0..=bytes);
    let most = 1 << rng.random_range(0..12);
    let length = rng.random_range(0..=most);
    start..bytes.min(start + length)
}

fn flip(rng: &mut StdRng, body: &mut [u8]) {
    if !body.is_empty() {
        body[rng.random_range(0..body.len())] ^= 1 << rng.random_range(0..8);
    }
}

fn set(rng: &mut StdRng, body: &mut [u8]) {
    if !body.is_empty() {
        body[rng.random_range(0..body.len())] = *BYTES.choose(rng).unwrap();
    }
}

/// Another number in place of one.
fn number(rng: &mut StdRng, body: &mut Vec<u8>) {
    let start = rng.random_range(0..=body.len());
    let Some(start) = body[start..].iter().position(u8::is_ascii_digit).map(|digit| start + digit) else { return };
    let digits = body[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    drop(body.splice(start..start + digits, NUMBERS.choose(rng).unwrap().bytes()));
}

/// Two lines in each other's place, one of them twice, or one of them gone.
fn lines(rng: &mut StdRng, body: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
    match rng.random_range(0..3) {
        0 => lines.swap(one, other),
        1 => lines.insert(one, lines[other]),
        _ => drop(lines.remove(one)),
    }
    *body = lines.concat();
}
