//! Protobuf bytes as fields: changed there, most of a message stays one, and lengths lie only where they are meant to.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// Numbers at which something ends.
const VARINTS: [u64; 17] = [
    0,
    1,
    2,
    5,
    127,
    128,
    16_383,
    1_000_001,
    1_000_000_001,
    1_000_000_000_001,
    0x7fff_ffff,
    0x8000_0000,
    253_402_300_800,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    // The year 0, in seconds.
    (-62_135_596_801_i64).cast_unsigned(),
    u64::MAX,
];

/// Levels that are looked into.
const DEPTH_MAX: usize = 4;

/// A field, its number and wire type in the key as they are on the wire.
#[derive(Debug, Clone)]
struct Field {
    key: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Varint(u64),
    Bytes(Vec<u8>),
    /// As it is on the wire: fixed numbers, and whatever has been made of a field that is none any more.
    Raw(Vec<u8>),
}

/// Changes one thing about a message.
pub(crate) fn mutated(rng: &mut StdRng, message: &[u8], tokens: &[&str]) -> Vec<u8> {
    changed(rng, message, tokens, DEPTH_MAX)
}

#[cfg(test)]
/// Texts that nobody should send.
fn texts() -> [String; 8] {
    [
        String::new(),
        " \u{3000} ".to_owned(),
        "\0\u{1b}[2J\r\n\u{202e}".to_owned(),
        "not a uuid".to_owned(),
        "eur".to_owned(),
        "XXX".to_owned(),
        "\u{7}\u{85}a".repeat(25_600),
        "\u{1f980}".repeat(1_000),
    ]
}

#[cfg(test)]
/// This message with one value after another in place of each that it has, and without it.
pub(crate) fn hostile(message: &[u8]) -> Vec<Vec<u8>> {
    let (fields, rest) = read(message);
    let mut messages = Vec::new();
    for at in 0..fields.len() {
        let mut others = fields.clone();
        others.remove(at);
        messages.push(written(&others, &rest));
        for value in instead_of(&fields[at].value) {
            let mut others = fields.clone();
            others[at].value = value;
            messages.push(written(&others, &rest));
        }
    }
    messages
}

#[cfg(test)]
fn instead_of(value: &Value) -> Vec<Value> {
    match value {
        Value::Varint(_) => VARINTS.map(Value::Varint).to_vec(),
        Value::Bytes(bytes) => {
            // A text may look like a message, and is then changed in both ways.
            let parts = if read(bytes).1.is_empty() { hostile(bytes) } else { Vec::new() };
            texts().map(String::into_bytes).into_iter().chain(parts).map(Value::Bytes).collect()
        }
        Value::Raw(_) => Vec::new(),
    }
}

fn changed(rng: &mut StdRng, message: &[u8], tokens: &[&str], depth: usize) -> Vec<u8> {
    let (mut fields, rest) = read(message);
    if fields.is_empty() || rng.random_ratio(1, 16) {
        let number = rng.random_range(1..16);
        let value = *VARINTS.choose(rng).unwrap();
        let text = tokens.choose(rng).map_or(Vec::new(), |token| token.as_bytes().to_vec());
        fields.push(match rng.random_range(0..2) {
            0 => Field { key: number << 3, value: Value::Varint(value) },
            _ => Field { key: number << 3 | 2, value: Value::Bytes(text) },
        });
        return written(&fields, &rest);
    }
    let at = rng.random_range(0..fields.len());
    let other = rng.random_range(0..fields.len());
    match rng.random_range(0..10) {
        0 => drop(fields.remove(at)),
        1 => {
            // Up to more lines than an order may have.
            let times = 1 << rng.random_range(0..11);
            let copies = vec![fields[at].clone(); times];
            fields.splice(at..at, copies);
        }
        2 => fields.swap(at, other),
        3 => fields[at].key = key(rng, fields[at].key),
        4 => fields[at].value = lie(rng, &fields[at].value),
        5 => {
            let levels = 1 << rng.random_range(0..9);
            fields[at] = Field { key: 0xb, value: Value::Raw(vec![0xb; levels]) };
        }
        _ => change(rng, &mut fields[at].value, tokens, depth),
    }
    written(&fields, &rest)
}

/// Another number, or another wire type.
fn key(rng: &mut StdRng, key: u64) -> u64 {
    match rng.random_range(0..4) {
        0 => key ^ rng.random_range(1..8),
        1 => key.wrapping_add(8),
        2 => rng.random_range(0..20) << 3 | key & 7,
        _ => *VARINTS.choose(rng).unwrap(),
    }
}

fn change(rng: &mut StdRng, value: &mut Value, tokens: &[&str], depth: usize) {
    match value {
        Value::Varint(number) => {
            *number = match rng.random_range(0..4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                _ => *VARINTS.choose(rng).unwrap(),
            };
        }
        Value::Bytes(bytes) => {
            let is_message = depth > 0 && !bytes.is_empty() && read(bytes).1.is_empty();
            if is_message && rng.random_ratio(3, 4) {
                *bytes = changed(rng, bytes, tokens, depth - 1);
            } else {
                text(rng, bytes, tokens);
            }
        }
        Value::Raw(bytes) => {
            if let Some(byte) = one_of(rng, bytes) {
                *byte = rng.random();
            }
        }
    }
}

fn text(rng: &mut StdRng, bytes: &mut Vec<u8>, tokens: &[&str]) {
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..6) {
        0 => bytes.clear(),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, rng.random()),
        3 => {
            let long = bytes.repeat(1 << rng.random_range(0..8));
            bytes.extend(long);
        }
        4 => *bytes = tokens.choose(rng).map_or(Vec::new(), |token| token.as_bytes().to_vec()),
        _ => {
            if let Some(byte) = one_of(rng, bytes) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
    }
}

/// One of them, by chance.
fn one_of<'a>(rng: &mut StdRng, bytes: &'a mut [u8]) -> Option<&'a mut u8> {
    let at = rng.random_range(0..bytes.len().max(1));
    bytes.get_mut(at)
}

/// The same value with a length that is not its own, or a number with more bytes than it needs.
fn lie(rng: &mut StdRng, value: &Value) -> Value {
    let mut wire = Vec::new();
    match value {
        Value::Varint(number) => {
            wire.extend(varint(*number));
            if let Some(last) = wire.last_mut() {
                *last |= 0x80;
            }
            wire.extend(vec![0x80; rng.random_range(0..10)]);
            wire.push(rng.random_range(0..3));
        }
        Value::Bytes(bytes) | Value::Raw(bytes) => {
            let length = u64::try_from(bytes.len()).unwrap();
            wire.extend(varint(match rng.random_range(0..3) {
                0 => length + 1,
                1 => length.saturating_sub(1),
                _ => *VARINTS.choose(rng).unwrap(),
            }));
            wire.extend(bytes);
        }
    }
    Value::Raw(wire)
}

/// The fields at the beginning, and what is none.
fn read(mut bytes: &[u8]) -> (Vec<Field>, Vec<u8>) {
    let mut fields = Vec::new();
    while let Some((field, rest)) = first(bytes) {
        fields.push(field);
        bytes = rest;
    }
    (fields, bytes.to_vec())
}

fn first(bytes: &[u8]) -> Option<(Field, &[u8])> {
    let (key, bytes) = number(bytes)?;
    let fixed = |length: usize| Some((Value::Raw(bytes.get(..length)?.to_vec()), bytes.get(length..)?));
    let (value, rest) = match key & 7 {
        0 => number(bytes).map(|(number, rest)| (Value::Varint(number), rest))?,
        1 => fixed(8)?,
        2 => {
            let (length, bytes) = number(bytes)?;
            let length = usize::try_from(length).ok()?;
            (Value::Bytes(bytes.get(..length)?.to_vec()), bytes.get(length..)?)
        }
        5 => fixed(4)?,
        _ => return None,
    };
    (key >= 8).then_some((Field { key, value }, rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| *byte < 0x80)? + 1;
    let mut number = 0_u64;
    for byte in bytes[..length].iter().rev() {
        number = number << 7 | u64::from(byte & 0x7f);
    }
    Some((number, &bytes[length..]))
}

fn written(fields: &[Field], rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { key, value } in fields {
        bytes.extend(varint(*key));
        match value {
            Value::Varint(number) => bytes.extend(varint(*number)),
            Value::Bytes(content) => {
                bytes.extend(varint(u64::try_from(content.len()).unwrap()));
                bytes.extend(content);
            }
            Value::Raw(content) => bytes.extend(content),
        }
    }
    bytes.extend(rest);
    bytes
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{read, written};

    #[test]
    fn a_message_is_written_as_it_was_read() {
        let message = proto::from_json("holdfast.common.v1.Money", br#"{ "minorUnits": "-1", "currency": "EUR" }"#);
        let message = message.unwrap();
        let (fields, rest) = read(&message);
        assert_eq!((fields.len(), rest.len()), (2, 0));
        assert_eq!(written(&fields, &rest), message);
        let broken = [&message[..], &[0x0a, 0xff]].concat();
        let (fields, rest) = read(&broken);
        assert_eq!((fields.len(), rest.as_slice()), (2, &[0x0a, 0xff][..]));
    }
}
