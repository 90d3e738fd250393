//! Signatures of webhooks: HMAC-SHA256 over the time and the body, one for each secret.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header's value: `t=…,v1=…[,v1=…],v0=…`. The last is noise, as Stripe adds in test mode.
#[must_use]
pub fn header(time: i64, body: &[u8], secrets: &[String]) -> String {
    let mut header = format!("t={time}");
    for secret in secrets {
        // Writing to a text cannot fail.
        write!(header, ",v1={}", sign(time, body, secret)).ok();
    }
    write!(header, ",v0={}", sign(time, body, "noise")).ok();
    header
}

fn sign(time: i64, body: &[u8], secret: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").ok();
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::{header, sign};

    #[test]
    fn signs_what_others_verify() {
        // By OpenSSL: printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
        assert_eq!(sign(1_700_000_000, br#"{"id":"evt_1"}"#, "whsec_test"), expected);
    }

    #[test]
    fn one_signature_for_each_secret() {
        let header = header(1, b"body", &["whsec_a".to_owned(), "whsec_b".to_owned()]);
        assert_eq!(header.matches(",v1=").count(), 2);
        assert!(header.starts_with("t=1,v1=") && header.contains(",v0="), "{header}");
    }
}
