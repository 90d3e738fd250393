//! Where a buyer is reached by mail: one address, which is in no event, in no refusal and in no line of a log.

use std::fmt;

use crate::Rejection;

/// The most bytes of an address, and of what is before its `@`: RFC 5321, section 4.5.3.1, and its erratum 1690.
const BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;
/// The most bytes between two dots of a domain.
const LABEL_BYTES_MAX: usize = 63;

/// What stands in an address only within quotes, or around it.
const SPECIALS: &str = "()<>[]:;,\\\"";

/// One address.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactEmail(String);

impl ContactEmail {
    /// Reads an address as a sender gives it; none if it is empty.
    ///
    /// # Errors
    /// It is none that mail can be sent to. The reason does not repeat it, for refusals are kept for ever.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, Rejection> {
        if text.is_empty() { Ok(None) } else { Self::parse(text).map(Some) }
    }

    fn parse(text: &str) -> Result<Self, Rejection> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(fault) => {
                let reason =
                    format!("contact_email must be one address such as ann@shop.example, and this one {fault}");
                Err(Rejection::new("INVALID_CONTACT_EMAIL", reason))
            }
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An address is nobody's business who reads a log.
impl fmt::Debug for ContactEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactEmail(…)")
    }
}

/// What is wrong with an address, if anything is. What it says never has a part of it.
fn fault(text: &str) -> Option<&'static str> {
    if text.len() > BYTES_MAX {
        return Some("has more than 254 bytes");
    }
    if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Some("has a blank, an end of line or another control character");
    }
    if text.chars().any(|letter| SPECIALS.contains(letter)) {
        return Some("has quotes, brackets, commas, colons or semicolons");
    }
    let (local, domain) = match text.split_once('@') {
        None => return Some("has no @"),
        Some((_, domain)) if domain.contains('@') => return Some("has more than one @"),
        Some(parts) => parts,
    };
    let has_empty_part = |part: &str| part.split('.').any(str::is_empty);
    if has_empty_part(local) || local.len() > LOCAL_BYTES_MAX {
        return Some("has nothing, more than 64 bytes or a dot too many before its @");
    }
    let is_label = |label: &str| label.len() <= LABEL_BYTES_MAX && !label.starts_with('-') && !label.ends_with('-');
    let is_known = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '.' || !letter.is_ascii();
    if has_empty_part(domain) || !domain.split('.').all(is_label) || !domain.chars().all(is_known) {
        return Some("has no domain behind its @");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::ContactEmail;

    #[test]
    fn an_address_is_taken_as_it_is() {
        let long = format!("{}@{}.example", "a".repeat(64), "b".repeat(63));
        for text in ["ann@shop.example", "a.b+c_d'e@x-y.example", "o@localhost", "bärbel@käse.example", &long] {
            assert_eq!(ContactEmail::parse_optional(text).unwrap().unwrap().as_str(), text);
        }
        assert_eq!(ContactEmail::parse_optional(""), Ok(None));
    }

    #[test]
    fn what_mail_cannot_be_sent_to_is_refused_and_not_repeated() {
        let too_long = format!("{}@{}", "a".repeat(60), ["b".repeat(63), "c".repeat(63), "d".repeat(66)].join("."));
        let long_local = format!("{}@secret.example", "a".repeat(65));
        let long_label = format!("secret@{}.example", "b".repeat(64));
        let wrong = [
            "secret",
            "secret@",
            "@secret.example",
            "secret@a@b.example",
            "secret@shop.example\r\nBcc: x@y.example",
            "secret @shop.example",
            "secret@shop.example,x@y.example",
            "<secret@shop.example>",
            "Ann <secret@shop.example>",
            "\"secret a\"@shop.example",
            ".secret@shop.example",
            "se..cret@shop.example",
            "secret.@shop.example",
            "secret@.example",
            "secret@shop..example",
            "secret@shop.example.",
            "secret@-shop.example",
            "secret@shop-.example",
            "secret@[127.0.0.1]",
            "secret@shop_x.example",
            "secret\0@shop.example",
            " ",
            &too_long,
            &long_local,
            &long_label,
        ];
        for text in wrong {
            let refused = ContactEmail::parse_optional(text).unwrap_err();
            assert_eq!(refused.code, "INVALID_CONTACT_EMAIL", "{text:?}");
            assert!(!refused.reason.contains("secret"), "{}", refused.reason);
        }
    }

    #[test]
    fn what_is_written_for_developers_does_not_show_it() {
        let contact = ContactEmail::parse_optional("ann@shop.example").unwrap();
        assert_eq!(format!("{contact:?}"), "Some(ContactEmail(…))");
    }
}
