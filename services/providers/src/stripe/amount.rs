//! Amounts as Stripe writes them, which is not always as ISO 4217 does, and which of them it takes.
//!
//! | currency                | digits of ours | Stripe's | rule                                        |
//! |-------------------------|----------------|----------|---------------------------------------------|
//! | most                    | 2, or none     | the same |                                             |
//! | ISK, UGX                | none           | 2        | times a hundred                             |
//! | MGA                     | 2              | none     | must be divisible by a hundred              |
//! | BHD, JOD, KWD, OMR, TND | 3              | 3        | must end in 0                               |
//! | all others              |                |          | refused: nobody knows what would be charged |
//!
//! From <https://docs.stripe.com/currencies>. The least and most amounts are those of cards. Stripe counts the least in the currency that the
//! shop is paid out in, so what passes here may still be declined there.

use domain::{Currency, Money, Rejection};

/// Currencies whose amounts Stripe writes as we do.
const SAME: [&str; 130] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BIF", "BMD", "BND",
    "BOB", "BRL", "BSD", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP", "CRC", "CVE", "CZK", "DJF",
    "DKK", "DOP", "DZD", "EGP", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD",
    "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "JMD", "JPY", "KES", "KGS", "KHR", "KMF", "KRW", "KYD", "KZT", "LAK",
    "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MKD", "MMK", "MNT", "MOP", "MUR", "MVR", "MWK", "MXN", "MYR", "MZN",
    "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD",
    "RUB", "RWF", "SAR", "SBD", "SCR", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SZL", "THB", "TJS", "TOP", "TRY",
    "TTD", "TWD", "TZS", "UAH", "USD", "UYU", "UZS", "VND", "VUV", "WST", "XAF", "XCD", "XCG", "XOF", "XPF", "YER",
    "ZAR", "ZMW",
];

/// The least that is charged, in Stripe's units, where it is published.
const LEAST: [(&str, i64); 24] = [
    ("AED", 200),
    ("AUD", 50),
    ("BGN", 100),
    ("BRL", 50),
    ("CAD", 50),
    ("CHF", 50),
    ("CZK", 1_500),
    ("DKK", 250),
    ("EUR", 50),
    ("GBP", 30),
    ("HKD", 400),
    ("HUF", 17_500),
    ("INR", 50),
    ("JPY", 50),
    ("MXN", 1_000),
    ("MYR", 200),
    ("NOK", 300),
    ("NZD", 50),
    ("PLN", 200),
    ("RON", 200),
    ("SEK", 300),
    ("SGD", 50),
    ("THB", 1_000),
    ("USD", 50),
];

/// How an amount of ours becomes one of Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// It is the same.
    Same,
    /// It is a hundred times as large.
    Hundredfold,
    /// It is a hundredth, which must be whole.
    Hundredth,
    /// It is the same, and must end in 0.
    Tens,
}

impl Rule {
    fn of(currency: &str) -> Option<Self> {
        match currency {
            "ISK" | "UGX" => Some(Self::Hundredfold),
            "MGA" => Some(Self::Hundredth),
            "BHD" | "JOD" | "KWD" | "OMR" | "TND" => Some(Self::Tens),
            other => SAME.binary_search(&other).is_ok().then_some(Self::Same),
        }
    }
}

/// Why an amount is none that Stripe takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody knows how Stripe writes it.
    #[error("Stripe takes no {0}, or nobody knows in which units")]
    CurrencyNotSupported(String),
    /// Stripe counts in larger steps.
    #[error("Stripe takes it in steps of {step} only, so not {amount}")]
    NotDivisible {
        /// The amount.
        amount: String,
        /// What it must be divisible by.
        step: String,
    },
    /// Less than is charged.
    #[error("Stripe charges {least} at least, so not {amount}")]
    TooSmall {
        /// The amount.
        amount: String,
        /// The least that is charged.
        least: String,
    },
    /// More than is charged.
    #[error("Stripe charges {most} at most, so not {amount}")]
    TooLarge {
        /// The amount.
        amount: String,
        /// The most that is charged.
        most: String,
    },
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::CurrencyNotSupported(_) => "CURRENCY_NOT_SUPPORTED",
            Refused::NotDivisible { .. } => "AMOUNT_NOT_DIVISIBLE",
            Refused::TooSmall { .. } => "AMOUNT_TOO_SMALL",
            Refused::TooLarge { .. } => "AMOUNT_TOO_LARGE",
        };
        Self::new(code, refused.to_string())
    }
}

/// An amount in Stripe's units. How large it is does not matter, for what goes back may be small.
///
/// # Errors
/// Stripe does not know the currency, or not so small a part of it.
pub fn to_stripe(amount: Money) -> Result<i64, Refused> {
    let (units, currency) = (amount.minor_units, amount.currency.as_str());
    let written = |units: i64| domain::written(units, currency);
    match rule(currency)? {
        Rule::Same => Ok(units),
        Rule::Hundredfold => times_hundred(units, written),
        Rule::Hundredth => divided(units, 100, written).map(|()| units / 100),
        Rule::Tens => divided(units, 10, written).map(|()| units),
    }
}

/// An amount of Stripe's in our units. Stripe writes currencies in small letters.
///
/// # Errors
/// It has no amount of ours: an unknown currency, or a part that ours has not.
pub fn from_stripe(units: i64, currency: &str) -> Result<Money, Refused> {
    let code = currency.to_uppercase();
    // What has no amount of ours cannot be written as one.
    let written = |units: i64| format!("{units} of Stripe's units of {code}");
    let minor_units = match rule(&code)? {
        Rule::Same | Rule::Tens => units,
        Rule::Hundredfold => divided(units, 100, written).map(|()| units / 100)?,
        Rule::Hundredth => times_hundred(units, written)?,
    };
    let currency = Currency::parse(&code).ok().ok_or(Refused::CurrencyNotSupported(code))?;
    Ok(Money { minor_units, currency })
}

/// Whether this can be charged. Nothing at all can: then nobody is asked for a card.
///
/// # Errors
/// `AMOUNT_TOO_SMALL`, `AMOUNT_TOO_LARGE`, `AMOUNT_NOT_DIVISIBLE` or `CURRENCY_NOT_SUPPORTED`.
pub fn accepts(amount: Money) -> Result<(), Rejection> {
    let units = to_stripe(amount)?;
    let currency = amount.currency.as_str();
    let (least, most) = (least(currency), most(currency));
    if units != 0 && units < least {
        return Err(Refused::TooSmall { amount: amount.to_string(), least: written(least, currency) }.into());
    }
    if units > most {
        return Err(Refused::TooLarge { amount: amount.to_string(), most: written(most, currency) }.into());
    }
    Ok(())
}

/// An amount of Stripe's, for people.
fn written(units: i64, currency: &str) -> String {
    from_stripe(units, currency).map_or_else(|_| format!("{units} of {currency}"), |amount| amount.to_string())
}

fn rule(currency: &str) -> Result<Rule, Refused> {
    Rule::of(currency).ok_or_else(|| Refused::CurrencyNotSupported(currency.chars().take(16).collect()))
}

fn times_hundred(units: i64, written: impl Fn(i64) -> String) -> Result<i64, Refused> {
    let too_large = || Refused::TooLarge { amount: written(units), most: written(i64::MAX / 100) };
    units.checked_mul(100).ok_or_else(too_large)
}

fn divided(units: i64, step: i64, written: impl Fn(i64) -> String) -> Result<(), Refused> {
    let refused = || Refused::NotDivisible { amount: written(units), step: written(step) };
    (units % step == 0).then_some(()).ok_or_else(refused)
}

fn least(currency: &str) -> i64 {
    LEAST.iter().find(|(known, _)| *known == currency).map_or(1, |(_, least)| *least)
}

/// The most that is charged: so many digits, the last of which must be zeros for some.
fn most(currency: &str) -> i64 {
    let most = match currency {
        "INR" => 999_999_999,
        "COP" | "HUF" | "JPY" => 9_999_999_999,
        "IDR" | "LBP" => 999_999_999_999,
        _ => 99_999_999,
    };
    match Rule::of(currency) {
        Some(Rule::Hundredfold) => most - most % 100,
        Some(Rule::Tens) => most - most % 10,
        Some(Rule::Same | Rule::Hundredth) | None => most,
    }
}

#[cfg(test)]
mod tests {
    use domain::{AMOUNT_MAX, Currency, Money};
    use proptest::prelude::*;

    use super::{LEAST, Refused, SAME, accepts, from_stripe, to_stripe};

    fn money(minor_units: i64, code: &str) -> Money {
        Money { minor_units, currency: Currency::parse(code).unwrap() }
    }

    fn refusal(minor_units: i64, code: &str) -> String {
        accepts(money(minor_units, code)).map_or_else(|rejection| rejection.code.into_owned(), |()| String::new())
    }

    #[test]
    fn tables_are_in_order() {
        assert!(SAME.is_sorted_by(|a, b| a < b));
        assert!(LEAST.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(LEAST.iter().all(|(code, _)| SAME.contains(code)));
    }

    #[test]
    fn amounts_are_written_as_stripe_writes_them() {
        for (ours, code, stripes) in [
            (1_250, "EUR", 1_250),
            (500, "JPY", 500),
            (500, "KRW", 500),
            (5, "ISK", 500),
            (5_000, "UGX", 500_000),
            (50_000, "MGA", 500),
            (5_120, "KWD", 5_120),
            (5_120, "BHD", 5_120),
            (100, "HUF", 100),
            (100, "TWD", 100),
            (0, "MGA", 0),
        ] {
            assert_eq!(to_stripe(money(ours, code)), Ok(stripes), "{code}");
            let back = from_stripe(stripes, &code.to_lowercase()).unwrap();
            assert_eq!((back.minor_units, back.currency.as_str()), (ours, code));
        }
    }

    #[test]
    fn what_stripe_cannot_write_is_refused() {
        assert_eq!(refusal(1_250_050, "MGA"), "AMOUNT_NOT_DIVISIBLE");
        for code in ["BHD", "JOD", "KWD", "OMR", "TND"] {
            assert_eq!(refusal(5_124, code), "AMOUNT_NOT_DIVISIBLE", "{code}");
        }
        // ISO digits of them: 3, 3, 4, 0, 4, 2, none.
        for code in ["IQD", "LYD", "CLF", "UYI", "UYW", "KPW", "XXX"] {
            assert_eq!(refusal(100, code), "CURRENCY_NOT_SUPPORTED", "{code}");
        }
        assert!(matches!(to_stripe(money(i64::MAX, "ISK")), Err(Refused::TooLarge { .. })));
    }

    #[test]
    fn what_we_cannot_write_is_refused() {
        assert!(matches!(from_stripe(150, "isk"), Err(Refused::NotDivisible { .. })));
        for currency in ["", "e", "clf", "€", "nothing of the kind, and long"] {
            assert!(matches!(from_stripe(150, currency), Err(Refused::CurrencyNotSupported(_))), "{currency}");
        }
        assert!(matches!(from_stripe(i64::MAX, "mga"), Err(Refused::TooLarge { .. })));
    }

    #[test]
    fn too_little_and_too_much_are_refused_and_nothing_is_not() {
        for (least, code, most) in [
            (50, "EUR", 99_999_999),
            (50, "USD", 99_999_999),
            (30, "GBP", 99_999_999),
            (17_500, "HUF", 9_999_999_999),
            (50, "JPY", 9_999_999_999),
            (50, "INR", 999_999_999),
            (1, "IDR", 999_999_999_999),
            (1, "ISK", 999_999),
            (100, "MGA", 9_999_999_900),
            (10, "KWD", 99_999_990),
        ] {
            assert_eq!([0, least, most].map(|units| refusal(units, code)), ["", "", ""], "{code}");
        }
        for (little, code) in [(1, "EUR"), (49, "EUR"), (29, "GBP"), (17_499, "HUF"), (49, "JPY")] {
            assert_eq!(refusal(little, code), "AMOUNT_TOO_SMALL", "{little} {code}");
        }
        for (much, code) in [(100_000_000, "EUR"), (1_000_000, "ISK"), (10_000_000_000, "MGA"), (AMOUNT_MAX, "IDR")] {
            assert_eq!(refusal(much, code), "AMOUNT_TOO_LARGE", "{much} {code}");
        }
        // What goes back may be less than what is charged at least.
        assert_eq!(to_stripe(money(1, "EUR")), Ok(1));
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        for (amount, would_do) in [
            (money(49, "EUR"), money(50, "EUR")),
            (money(1_000_000, "ISK"), money(999_999, "ISK")),
            (money(10_000_000_000, "MGA"), money(9_999_999_900, "MGA")),
            (money(100_000_000, "KWD"), money(99_999_990, "KWD")),
        ] {
            let reason = accepts(amount).unwrap_err().reason;
            assert!(reason.contains(&would_do.to_string()) && reason.contains(&amount.to_string()), "{reason}");
            assert_eq!(accepts(would_do), Ok(()));
        }
        let reason = accepts(money(5_124, "KWD")).unwrap_err().reason;
        assert_eq!(reason, "Stripe takes it in steps of 0.010 KWD only, so not 5.124 KWD");
    }

    fn any_currency() -> impl Strategy<Value = &'static str> {
        let all = SAME.into_iter().chain(["ISK", "UGX", "MGA", "BHD", "JOD", "KWD", "OMR", "TND"]);
        prop::sample::select(all.collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(code in any_currency(), minor_units in 0..=AMOUNT_MAX) {
            match to_stripe(money(minor_units, code)) {
                Ok(units) => prop_assert_eq!(from_stripe(units, &code.to_lowercase()), Ok(money(minor_units, code))),
                Err(refused) => prop_assert!(matches!(refused, Refused::NotDivisible { .. }), "{refused:?}"),
            }
        }

        #[test]
        fn back_and_there_is_the_same(code in any_currency(), units in 0..=AMOUNT_MAX) {
            match from_stripe(units, &code.to_lowercase()) {
                Ok(ours) if !matches!(code, "BHD" | "JOD" | "KWD" | "OMR" | "TND") => {
                    prop_assert_eq!(to_stripe(ours), Ok(units));
                }
                Ok(ours) => prop_assert_eq!(ours.minor_units, units),
                Err(refused) => prop_assert!(matches!(refused, Refused::NotDivisible { .. }), "{refused:?}"),
            }
        }
    }
}
