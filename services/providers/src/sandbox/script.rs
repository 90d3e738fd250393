//! How the sandbox behaves for one payment, read from the payment method: `sandbox:late,after=2s,refund=decline`.
//!
//! ```text
//! script   = "" | "sandbox:" pay { "," option }        "" is "sandbox:succeed"
//! pay      = "succeed" | "decline" | "late" | "never"
//! option   = "after=" time | "refund=" plan | "refund_after=" time | "checkout=" page | "hold=" hold       each at most once
//! plan     = "succeed" | "decline" | "lose_response" | "time_out" | "fail_then_succeed" | "fail_later"
//! page     = "link" | "call" | "refuse"                "link" unless it is said
//! hold     = "capture" | "lapse"                       the money is taken at once unless it is said
//! time     = digits ( "ms" | "s" | "m" )               at most 7 days
//! ```
//!
//! `after` is when the provider reports: so long after the payment was requested or, when it is `late`, after it
//! expired. `refund_after` is how long a refund takes to be answered or, when it will `fail_later`, how long after it
//! was paid out it fails. The page to pay on is a link that needs no call, or is opened by a call, or is not opened when called for.
//! With `hold` the buyer's money is set aside first. It is then there to be taken, or has lapsed when it is to be taken.

use std::time::Duration;

use domain::Rejection;

const TIME_MAX: Duration = Duration::from_hours(7 * 24);

/// How the sandbox behaves for one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// What the buyer does.
    pub pay: Pay,
    /// How long the buyer takes.
    pub after: Duration,
    /// What becomes of refunds.
    pub refund: RefundPlan,
    /// How long a refund takes.
    pub refund_after: Duration,
    /// What it takes to open the page to pay on.
    pub checkout: Page,
    /// Whether the money is set aside before it is taken. `None`: it is taken at once.
    pub hold: Option<Hold>,
}

/// What the buyer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pay {
    /// Pays.
    Succeed,
    /// Has no money.
    Decline,
    /// Pays after the payment expired.
    Late,
    /// Walks away.
    Never,
}

/// What it takes to open the page to pay on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Nothing: it is a link that follows from the payment.
    Link,
    /// A call.
    Call,
    /// A call, which is declined.
    Refuse,
}

/// What becomes of money that is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is there when it is to be taken.
    Capture,
    /// It has lapsed by then.
    Lapse,
}

/// What becomes of refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundPlan {
    /// Paid out.
    Succeed,
    /// Refused.
    Decline,
    /// Paid out, but the answer is lost.
    LoseResponse,
    /// Not paid out, and never answered.
    TimeOut,
    /// Unavailable twice, then paid out.
    FailThenSucceed,
    /// Paid out, and later reported as failed. Sent again under a new key, it is paid out for good.
    FailLater,
}

const PAYS: [(&str, Pay); 4] =
    [("succeed", Pay::Succeed), ("decline", Pay::Decline), ("late", Pay::Late), ("never", Pay::Never)];

const PAGES: [(&str, Page); 3] = [("link", Page::Link), ("call", Page::Call), ("refuse", Page::Refuse)];

const HOLDS: [(&str, Hold); 2] = [("capture", Hold::Capture), ("lapse", Hold::Lapse)];

const PLANS: [(&str, RefundPlan); 6] = [
    ("succeed", RefundPlan::Succeed),
    ("decline", RefundPlan::Decline),
    ("lose_response", RefundPlan::LoseResponse),
    ("time_out", RefundPlan::TimeOut),
    ("fail_then_succeed", RefundPlan::FailThenSucceed),
    ("fail_later", RefundPlan::FailLater),
];

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// What in it cannot be read, and what could stand there.
    pub fn parse(payment_method: &str) -> Result<Self, Rejection> {
        let mut script = Self {
            pay: Pay::Succeed,
            after: Duration::ZERO,
            refund: RefundPlan::Succeed,
            refund_after: Duration::ZERO,
            checkout: Page::Link,
            hold: None,
        };
        if payment_method.is_empty() {
            return Ok(script);
        }
        let Some(words) = payment_method.strip_prefix("sandbox:") else {
            return Err(unreadable(
                "payment method",
                payment_method,
                "sandbox:succeed, or another script of the sandbox",
            ));
        };
        let mut words = words.split(',');
        script.pay = one_of("what the buyer does", words.next().unwrap_or_default(), &PAYS)?;
        let mut seen = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if seen.contains(&name) {
                return Err(unreadable("option", word, "each option once"));
            }
            seen.push(name);
            match name {
                "after" => script.after = time(word, value)?,
                "refund" => script.refund = one_of("refund", value, &PLANS)?,
                "refund_after" => script.refund_after = time(word, value)?,
                "checkout" => script.checkout = one_of("page", value, &PAGES)?,
                "hold" => script.hold = Some(one_of("hold", value, &HOLDS)?),
                _ => return Err(unreadable("option", word, "after=…, refund=…, refund_after=…, checkout=… or hold=…")),
            }
        }
        Ok(script)
    }
}

fn one_of<T: Copy>(what: &str, word: &str, words: &[(&str, T)]) -> Result<T, Rejection> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        unreadable(what, word, &known.join(", "))
    })
}

fn time(word: &str, value: &str) -> Result<Duration, Rejection> {
    let refuse = || unreadable("time", word, "a whole number of ms, s or m, such as 200ms, and at most 7 days");
    let unit_at = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(unit_at);
    let number: u64 = digits.parse().map_err(|_no_number| refuse())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).filter(|time| *time <= TIME_MAX).ok_or_else(refuse)
}

fn unreadable(what: &str, found: &str, expected: &str) -> Rejection {
    let found: String = found.chars().take(40).collect();
    Rejection::new("INVALID_SCRIPT", format!("the sandbox cannot read the {what} {found:?}: write {expected}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HOLDS, Hold, PAGES, PAYS, PLANS, Page, Pay, RefundPlan, Script};

    fn reason(script: &str) -> String {
        let rejection = Script::parse(script).unwrap_err();
        assert_eq!(rejection.code, "INVALID_SCRIPT");
        rejection.reason
    }

    #[test]
    fn reads_every_word() {
        for (word, pay) in PAYS {
            assert_eq!(Script::parse(&format!("sandbox:{word}")).unwrap().pay, pay);
        }
        for (word, plan) in PLANS {
            assert_eq!(Script::parse(&format!("sandbox:never,refund={word}")).unwrap().refund, plan);
        }
        for (word, page) in PAGES {
            assert_eq!(Script::parse(&format!("sandbox:never,checkout={word}")).unwrap().checkout, page);
        }
        for (word, hold) in HOLDS {
            assert_eq!(Script::parse(&format!("sandbox:never,hold={word}")).unwrap().hold, Some(hold));
        }
        let script = Script {
            pay: Pay::Late,
            after: Duration::from_millis(200),
            refund: RefundPlan::LoseResponse,
            refund_after: Duration::from_mins(3),
            checkout: Page::Call,
            hold: Some(Hold::Lapse),
        };
        assert_eq!(
            Script::parse("sandbox:late,after=200ms,refund=lose_response,refund_after=3m,checkout=call,hold=lapse"),
            Ok(script)
        );
        assert_eq!(
            Script::parse("sandbox:late,hold=lapse,refund_after=180s,checkout=call,refund=lose_response,after=200ms"),
            Ok(script)
        );
    }

    #[test]
    fn no_script_is_the_plain_one() {
        assert_eq!(Script::parse(""), Script::parse("sandbox:succeed"));
    }

    #[test]
    fn says_what_it_cannot_read_and_what_could_stand_there() {
        for (script, words) in [
            ("card", ["\"card\"", "sandbox:succeed"]),
            ("sandbox:", ["\"\"", "succeed, decline, late, never"]),
            ("sandbox:succed", ["\"succed\"", "succeed, decline, late, never"]),
            ("sandbox:succeed,refund=explode", ["\"explode\"", "lose_response"]),
            ("sandbox:succeed,speed=9", ["\"speed=9\"", "refund_after"]),
            ("sandbox:succeed,", ["\"\"", "refund_after"]),
            ("sandbox:succeed,after=1s,after=2s", ["\"after=2s\"", "once"]),
            ("sandbox:succeed,after=1h", ["\"after=1h\"", "200ms"]),
            ("sandbox:succeed,after=-1s", ["\"after=-1s\"", "200ms"]),
            ("sandbox:succeed,after=", ["\"after=\"", "200ms"]),
            ("sandbox:succeed,after=10081m", ["10081m", "7 days"]),
            ("sandbox:succeed,after=99999999999999999999s", ["9999", "7 days"]),
        ] {
            let reason = reason(script);
            for word in words {
                assert!(reason.contains(word), "{word} is not in {reason}");
            }
        }
    }

    #[test]
    fn its_complaint_fits_a_report() {
        let reason = reason(&format!("sandbox:{}", "\u{1}\u{fffff}".repeat(128)));
        assert!(reason.chars().count() <= 512 && !reason.chars().any(char::is_control), "{reason}");
    }
}
