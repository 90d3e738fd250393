//! Whether a webhook is Stripe's: `t=<seconds>,v1=<hex>,…`, where each `v1` is the HMAC-SHA256 of `<seconds>.<body>` under one of the
//! endpoint's secrets. See <https://docs.stripe.com/webhooks#verify-manually>.

use std::{fmt, time::Duration};

use domain::Timestamp;
use ring::hmac;

/// How far the time in a signature may be from ours, either way: later, it may have been caught and sent again; earlier, it was made up.
const TOLERANCE: Duration = Duration::from_mins(5);

/// The fewest characters of a secret: whoever can guess it can sign.
const SECRET_CHARS_MIN: usize = 20;

/// Secrets that are tried: while one is replaced there are two.
const SECRETS_MAX: usize = 16;

/// Signatures that are looked at; Stripe sends one for each secret that is in force.
const SIGNATURES_MAX: usize = 8;

/// The secrets of the webhook's endpoint at Stripe, several while one is replaced.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Why there are no secrets. No text of it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There are none.
    #[error("there is no secret: give one a line, as Stripe shows them (whsec_…)")]
    None,
    /// One could be guessed.
    #[error("line {line} is blank or too short for a secret: each has {least} characters at least", least = SECRET_CHARS_MIN)]
    TooShort {
        /// In which line, from 1.
        line: usize,
    },
    /// There are too many to try them all.
    #[error("there are {0} secrets; {most} are the most", most = SECRETS_MAX)]
    TooMany(usize),
}

impl Secrets {
    /// Reads secrets, one a line. A blank one would be a key that everybody knows.
    ///
    /// # Errors
    /// See [`SecretsError`].
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
        if lines.is_empty() {
            return Err(SecretsError::None);
        }
        if lines.len() > SECRETS_MAX {
            return Err(SecretsError::TooMany(lines.len()));
        }
        if let Some(before) = lines.iter().position(|secret| secret.chars().count() < SECRET_CHARS_MIN) {
            return Err(SecretsError::TooShort { line: before + 1 });
        }
        Ok(Self(lines.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect()))
    }
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It does not say when it was signed, or not once.
    #[error("the header Stripe-Signature has no time that can be read")]
    NoTime,
    /// It has no signature, or more than anybody needs.
    #[error("the header Stripe-Signature has no v1 that can be read, or more than {most}", most = SIGNATURES_MAX)]
    NoSignature,
    /// It was signed too long ago, or will be.
    #[error("the time in the header Stripe-Signature is more than {most} s from ours", most = TOLERANCE.as_secs())]
    WrongTime,
    /// Nobody who knows one of our secrets has signed this body.
    #[error("the signature is of another body, or of another endpoint's secret")]
    WrongSignature,
}

/// Checks that whoever signed this very body, just now, knows one of the secrets.
///
/// # Errors
/// See [`BadSignature`].
pub fn verify(secrets: &Secrets, signature_header: &str, body: &[u8], now: Timestamp) -> Result<(), BadSignature> {
    let fields = || signature_header.split(',').filter_map(|field| field.trim().split_once('='));
    let mut times = fields().filter(|(name, _)| *name == "t").map(|(_, time)| time);
    let (Some(time), None) = (times.next(), times.next()) else { return Err(BadSignature::NoTime) };
    let signatures: Vec<Vec<u8>> =
        fields().filter(|(name, _)| *name == "v1").filter_map(|(_, signature)| from_hex(signature)).collect();
    if signatures.is_empty() || signatures.len() > SIGNATURES_MAX {
        return Err(BadSignature::NoSignature);
    }
    if !is_near(time, now)? {
        return Err(BadSignature::WrongTime);
    }
    let signed = [time.as_bytes(), b".", body].concat();
    let is_of = |key: &hmac::Key| signatures.iter().any(|signature| hmac::verify(key, &signed, signature).is_ok());
    // In constant time for each of them: which of the secrets it was is no secret.
    if secrets.0.iter().any(is_of) { Ok(()) } else { Err(BadSignature::WrongSignature) }
}

fn is_near(seconds: &str, now: Timestamp) -> Result<bool, BadSignature> {
    if !seconds.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(BadSignature::NoTime);
    }
    let seconds: i64 = seconds.parse().ok().ok_or(BadSignature::NoTime)?;
    let time = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    Ok(time.since(now).max(now.since(time)) <= TOLERANCE)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok());
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use ring::hmac;

    use super::{BadSignature, SIGNATURES_MAX, Secrets, SecretsError, verify};

    const SECRET: &str = "whsec_0123456789abcdef";
    const OTHER: &str = "whsec_fedcba9876543210";
    const BODY: &[u8] = b"{ \"id\":\t\"evt_1\" }\n";
    const AT: i64 = 1_790_000_000;

    fn now() -> Timestamp {
        Timestamp::from_micros(AT * 1_000_000)
    }

    fn signature(secret: &str, time: &str, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[time.as_bytes(), b".", body].concat());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn header(secret: &str, time: i64) -> String {
        format!("t={time},v1={}", signature(secret, &time.to_string(), BODY))
    }

    fn checked(secrets: &str, header: &str) -> Result<(), BadSignature> {
        verify(&Secrets::parse(secrets).unwrap(), header, BODY, now())
    }

    #[test]
    fn it_is_signed_as_stripe_signs() {
        // By Python's hmac module: hmac.new(secret, b"1790000000.{}", "sha256").
        let expected = "0850224bf5dbabc7dade74b3c0224eef5652795afbd645adbda8dbee920486ee";
        assert_eq!(signature(SECRET, "1790000000", b"{}"), expected);
        verify(&Secrets::parse(SECRET).unwrap(), &format!("t=1790000000,v1={expected}"), b"{}", now()).unwrap();
    }

    #[test]
    fn what_is_signed_with_one_of_the_secrets_is_believed() {
        assert_eq!(checked(SECRET, &header(SECRET, AT)), Ok(()));
        let both = format!("{OTHER}\n{SECRET}\n");
        assert_eq!(checked(&both, &header(SECRET, AT)), Ok(()));
        assert_eq!(checked(&both, &header(OTHER, AT)), Ok(()));
        // While a secret is replaced Stripe signs with both.
        let time = AT.to_string();
        let two = format!(
            "t={AT},v1={},v1={}",
            signature("whsec_unknown to us here", &time, BODY),
            signature(SECRET, &time, BODY)
        );
        assert_eq!(checked(SECRET, &two), Ok(()));
        let noise = format!("v0={},{},v1=xyz,scheme", "a".repeat(64), header(SECRET, AT));
        assert_eq!(checked(SECRET, &noise), Ok(()));
    }

    #[test]
    fn what_is_forged_is_not() {
        assert_eq!(checked(SECRET, &header(OTHER, AT)), Err(BadSignature::WrongSignature));
        let good = header(SECRET, AT);
        let verify = |header: &str, body: &[u8]| verify(&Secrets::parse(SECRET).unwrap(), header, body, now());
        for body in [&b"{\"id\":\"evt_1\"}"[..], b"", &BODY[..BODY.len() - 1]] {
            assert_eq!(verify(&good, body), Err(BadSignature::WrongSignature));
        }
        let other_time = good.replace(&AT.to_string(), &(AT + 1).to_string());
        assert_eq!(verify(&other_time, BODY), Err(BadSignature::WrongSignature));
        let only_old = good.replace("v1=", "v0=");
        assert_eq!(verify(&only_old, BODY), Err(BadSignature::NoSignature));
        assert_eq!(verify(&good[..good.len() - 2], BODY), Err(BadSignature::WrongSignature));
        assert_eq!(verify(&good[..good.len() - 1], BODY), Err(BadSignature::NoSignature));
        assert_eq!(verify(&format!("t={AT},v1="), BODY), Err(BadSignature::WrongSignature));
    }

    #[test]
    fn what_was_signed_too_long_ago_or_will_be_is_not_believed() {
        for seconds in [-300, -1, 0, 1, 300] {
            assert_eq!(checked(SECRET, &header(SECRET, AT + seconds)), Ok(()), "{seconds}");
        }
        for seconds in [-100_000, -301, 301, 100_000] {
            assert_eq!(checked(SECRET, &header(SECRET, AT + seconds)), Err(BadSignature::WrongTime), "{seconds}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused() {
        let v1 = "0".repeat(64);
        for header in ["", "t", &format!("v1={v1}"), &format!("t=1,t=2,v1={v1}")] {
            assert_eq!(checked(SECRET, header).err(), Some(BadSignature::NoTime), "{header}");
        }
        for time in ["", "+1790000000", "-1", "1.5", "١٧٩", "99999999999999999999", "0x1"] {
            assert_eq!(checked(SECRET, &format!("t={time},v1={v1}")), Err(BadSignature::NoTime), "{time}");
        }
        for header in ["t=1", "t=,v1", "t=1,v1=g0", "t=1,v1=+f", "t=1,v1=é", "t=1,v2=00"] {
            assert_eq!(checked(SECRET, header), Err(BadSignature::NoSignature), "{header}");
        }
        let many = format!("t={AT}{}", format!(",v1={v1}").repeat(SIGNATURES_MAX + 1));
        assert_eq!(checked(SECRET, &many), Err(BadSignature::NoSignature));
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        for text in ["", "\n", " \t\r\n \n"] {
            assert_eq!(Secrets::parse(text).err(), Some(SecretsError::None), "{text:?}");
        }
        for (text, line) in [
            ("whsec_", 1),
            ("whsec_0123456789abc", 1),
            (&format!("{SECRET}\nwhsec_"), 2),
            (&format!("{SECRET}\n\n{OTHER}"), 2),
            (&format!("\n{SECRET}"), 1),
            (&format!("whsec_{}", " ".repeat(30)), 1),
        ] {
            assert_eq!(Secrets::parse(text).err(), Some(SecretsError::TooShort { line }), "{text:?}");
        }
        assert_eq!(Secrets::parse(&format!("{SECRET}\n").repeat(17)).err(), Some(SecretsError::TooMany(17)));
        assert!(Secrets::parse("whsec_0123456789abcd").is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let secrets = Secrets::parse(&format!(" {SECRET}\r\n{OTHER}\r\n")).unwrap();
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
        let error = Secrets::parse("whsec_short").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("whsec_short"), "{error}");
    }
}
