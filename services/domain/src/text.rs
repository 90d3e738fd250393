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
