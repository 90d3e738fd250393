//! Bytes as hexadecimal digits.

/// These bytes, in small letters.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes of a hash or a signature, in letters of either size. `None`: it is not 64 hexadecimal digits.
pub(crate) fn hash(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(place * 2..place * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::{digits, hash};

    #[test]
    fn a_hash_is_64_digits_and_comes_back_as_it_was() {
        let bytes: Vec<u8> = (240..=255).chain(0..16).collect();
        let text = digits(&bytes);
        assert!(text.starts_with("f0f1f2") && text.ends_with("0e0f"), "{text}");
        assert_eq!((hash(&text).unwrap().as_slice(), hash(&text.to_uppercase())), (bytes.as_slice(), hash(&text)));
        for wrong in [&text[1..], &format!("{text}0"), &text.replacen("f0", "+f", 1), &text.replacen("f0", "é", 1), ""]
        {
            assert_eq!(hash(wrong), None, "{wrong}");
        }
    }
}
