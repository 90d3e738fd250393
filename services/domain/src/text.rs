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
