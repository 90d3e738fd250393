//! Texts that come from outside: how long they may be, and how much of them an error message repeats.

use crate::Rejection;

/// Takes over a text field if its length is within the limits, in characters, and it has no control characters.
///
/// # Errors
/// Too short, too long, or with control characters.
pub fn text(field: &str, value: &str, chars_min: usize, chars_max: usize) -> Result<String, Rejection> {
    let chars = value.chars().count();
    if chars < chars_min {
        return Err(Rejection::new(
            "INVALID_TEXT",
            format!("{field} is missing: give {chars_min} to {chars_max} characters"),
        ));
    }
    if chars > chars_max {
        return Err(Rejection::new("INVALID_TEXT", format!("{field} has {chars} characters; {chars_max} is the most")));
    }
    if value.chars().any(char::is_control) {
        return Err(Rejection::new("INVALID_TEXT", format!("{field} has control characters: {:?}", excerpt(value))));
    }
    Ok(value.to_owned())
}

/// A text of others that must be kept whatever it says: what cannot be seen or turns the writing around is escaped, and what is beyond
/// the limit is cut off, with a sign that it was.
#[must_use]
pub fn legible(value: &str, chars_max: usize) -> String {
    let shown = value.trim().chars().map(|letter| match is_unseen(letter) {
        true => letter.escape_unicode().to_string(),
        false => letter.to_string(),
    });
    let legible: String = shown.collect();
    if legible.chars().count() <= chars_max {
        return legible;
    }
    legible.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// Whether nobody sees that it is there, or it breaks a line.
fn is_unseen(letter: char) -> bool {
    is_invisible(letter) || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// The first 64 characters: enough to recognise a value, too little to flood a log.
pub(crate) fn excerpt(value: &str) -> String {
    value.chars().take(64).collect()
}

/// Characters that take no room on paper, besides control characters and spaces: joiners, marks of direction, fillers, variation selectors,
/// tags (`Default_Ignorable_Code_Point` of the Unicode Character Database, version 16), annotation marks, the Braille blank; and U+FFFD,
/// the trace of a text that was broken on its way.
const INVISIBLE: [(char, char); 19] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffd}', '\u{fffd}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether two texts may differ in it and look the same.
pub(crate) fn is_invisible(letter: char) -> bool {
    letter.is_control() || !letter.is_ascii() && INVISIBLE.iter().any(|(from, to)| (*from..=*to).contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::legible;

    #[test]
    fn what_others_say_is_kept_legibly() {
        assert_eq!(legible(" card\tdeclined\r\n", 99), "card\\u{9}declined");
        assert_eq!(legible("a\0b\u{202e}c", 99), "a\\u{0}b\\u{202e}c");
        assert_eq!(legible("Zahlung zurück 👍", 99), "Zahlung zurück 👍");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(legible("abcdef", 4), "abc…");
        assert_eq!(legible("abcd", 4), "abcd");
        assert_eq!(legible(&"x".repeat(600), 512).chars().count(), 512);
        // What is legible stays as it is, or a text that is kept twice would change.
        let once = legible(&"\n".repeat(600), 100);
        assert_eq!(legible(&once, 100), once);
    }
}
