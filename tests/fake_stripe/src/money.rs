//! Which amounts Stripe takes: of which currencies, how small, how large, and in which steps.

use crate::problem::Problem;

/// Currencies with two decimals, or none, at Stripe.
const PLAIN: &str = "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf \
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr \
    jmd jpy kes kgs khr kmf krw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn \
    nio nok npr nzd pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs \
    top try ttd twd tzs uah usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw";

/// No decimals in life and two at Stripe, which must be zeros.
const WHOLE: &str = "isk ugx";

/// Three decimals, the last of which must be zero.
const THREE: &str = "bhd jod kwd omr tnd";

/// No decimals in life nor at Stripe, of those above.
const NONE: &str = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";

/// The least charge, where it is published.
const LEAST: [(&str, i64); 24] = [
    ("aed", 200),
    ("aud", 50),
    ("bgn", 100),
    ("brl", 50),
    ("cad", 50),
    ("chf", 50),
    ("czk", 1_500),
    ("dkk", 250),
    ("eur", 50),
    ("gbp", 30),
    ("hkd", 400),
    ("huf", 17_500),
    ("inr", 50),
    ("jpy", 50),
    ("mxn", 1_000),
    ("myr", 200),
    ("nok", 300),
    ("nzd", 50),
    ("pln", 200),
    ("ron", 200),
    ("sek", 300),
    ("sgd", 50),
    ("thb", 1_000),
    ("usd", 50),
];

fn is_in(list: &str, currency: &str) -> bool {
    list.split(' ').any(|known| known == currency)
}

pub(crate) fn check_currency(currency: &str, param: &str) -> Result<(), Problem> {
    if [PLAIN, WHOLE, THREE].iter().any(|list| is_in(list, currency)) {
        return Ok(());
    }
    Err(Problem::invalid(format!("Invalid currency: {currency}")).param(param))
}

/// An amount must be of a step that the currency has.
pub(crate) fn check_step(currency: &str, minor: i64, param: &str) -> Result<(), Problem> {
    let step = if is_in(WHOLE, currency) {
        100
    } else if is_in(THREE, currency) {
        10
    } else {
        1
    };
    if minor % step == 0 {
        return Ok(());
    }
    let text = format!("Invalid amount: amounts in {currency} must be divisible by {step}, got {minor}");
    Err(Problem::invalid(text).param(param))
}

/// A charge must be neither too small nor too large.
pub(crate) fn check_charge(currency: &str, minor: i64) -> Result<(), Problem> {
    let least = LEAST.iter().find(|(known, _)| *known == currency).map_or(1, |(_, least)| *least);
    if minor < least {
        let text = format!("The Checkout Session's total amount due must add up to at least {least} {currency}");
        return Err(Problem::invalid(text).code("amount_too_small"));
    }
    let digits = match currency {
        "inr" => 9,
        "cop" | "huf" | "jpy" => 10,
        "idr" | "lbp" => 12,
        _others => 8,
    };
    if minor >= 10_i64.pow(digits) {
        let text = format!("The Checkout Session's total amount due must be no more than {digits} digits, got {minor}");
        return Err(Problem::invalid(text).code("amount_too_large"));
    }
    Ok(())
}

/// An amount in major units, as reports have it: `-12.50`, `1250`.
pub(crate) fn major(currency: &str, minor: i64) -> String {
    let written = written(currency, minor);
    written.split(' ').next().unwrap_or_default().replace(',', "")
}

/// An amount for whoever reads the page: `1,250.00 EUR`, `1,250 JPY`.
pub(crate) fn written(currency: &str, minor: i64) -> String {
    let (minor, digits) = match currency {
        whole if is_in(WHOLE, whole) => (minor / 100, 0),
        none if is_in(NONE, none) => (minor, 0),
        three if is_in(THREE, three) => (minor, 3),
        _others => (minor, 2),
    };
    let all = format!("{:0>width$}", minor.unsigned_abs(), width = digits + 1);
    let (whole, part) = all.split_at(all.len() - digits);
    let mut text = String::from(if minor < 0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let point = if digits > 0 { "." } else { "" };
    format!("{text}{point}{part} {}", currency.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{check_charge, check_currency, check_step, written};

    #[test]
    fn amounts_on_the_page_are_written_as_people_write_them() {
        for (currency, minor, text) in [
            ("eur", 5, "0.05 EUR"),
            ("eur", -123_456, "-1,234.56 EUR"),
            ("jpy", 1_250, "1,250 JPY"),
            ("kwd", 1_250, "1.250 KWD"),
            ("isk", 125_000, "1,250 ISK"),
            ("usd", 100_000_000_000_000, "1,000,000,000,000.00 USD"),
        ] {
            assert_eq!(written(currency, minor), text);
        }
    }

    #[test]
    fn unknown_currencies_are_refused() {
        for currency in ["eur", "usd", "jpy", "ugx", "kwd"] {
            check_currency(currency, "currency").unwrap();
        }
        for currency in ["EUR", "", "xxx", "e u", "clf"] {
            assert!(check_currency(currency, "currency").is_err(), "{currency}");
        }
    }

    #[test]
    fn steps_of_special_currencies() {
        for (currency, good, bad) in [("isk", 500, 550), ("ugx", 100, 101), ("kwd", 1_230, 1_234), ("bhd", 10, 5)] {
            check_step(currency, good, "amount").unwrap();
            assert!(check_step(currency, bad, "amount").is_err(), "{currency}");
        }
        check_step("eur", 1, "amount").unwrap();
    }

    #[test]
    fn least_and_most() {
        for (currency, least, most) in [("eur", 50, 99_999_999), ("gbp", 30, 99_999_999), ("inr", 50, 999_999_999)] {
            check_charge(currency, least).unwrap();
            check_charge(currency, most).unwrap();
            assert_eq!(check_charge(currency, least - 1).unwrap_err().code, Some("amount_too_small"));
            assert_eq!(check_charge(currency, most + 1).unwrap_err().code, Some("amount_too_large"));
        }
        check_charge("idr", 999_999_999_999).unwrap();
    }
}
