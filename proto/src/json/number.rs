//! Whole numbers as JSON writes them, exactly: no floating point comes near them.

/// The number that the text of a JSON number stands for, if it is a whole one of at most 38 digits: `12`, `1.0`, `1e3`, `-0`.
pub(super) fn whole(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some(0);
    }
    // Zeros that are left of the last digit that counts. Fewer than none: it has a fraction.
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let shift = exponent.parse::<i64>().ok()?.checked_add(dropped)?.checked_sub(i64::try_from(after.len()).ok()?)?;
    let scale = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    kept.parse::<i128>().ok()?.checked_mul(scale)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn whole_numbers_are_read_exactly_however_they_are_written() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("0e99999999999", 0),
            ("1.0", 1),
            ("10e-1", 1),
            ("1e3", 1_000),
            ("1E+3", 1_000),
            ("1.5e1", 15),
            ("-12", -12),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9.007199254740993e15", 9_007_199_254_740_993),
            ("-9223372036854775809", -9_223_372_036_854_775_809),
        ] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
    }

    #[test]
    fn what_has_a_fraction_is_no_whole_number_however_small_the_fraction() {
        for text in [
            "1.5",
            "0.99999999999999999999",
            "999.99999999999999999",
            "999999999999.99999",
            "999999999.9999999999999999999",
            "1e-1",
            "1e-400",
            "1.05e1",
            "",
            "-",
            ".",
            "1e",
            "x",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
        // Beyond all counters.
        for text in ["1e40", "1e400", "1e99999999999999999999", "1e-99999999999999999999"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
