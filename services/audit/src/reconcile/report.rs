//! Stripe's itemised payout reconciliation report: what its columns say.
//!
//! Columns and their meanings: <https://docs.stripe.com/reports/report-types/payout-reconciliation>.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use csv::StringRecord;
use domain::{Currency, Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Columns without which nothing can be matched or added up.
const NEEDED: [&str; 9] = [
    "balance_transaction_id",
    "created_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "source_id",
    "payment_intent_id",
];

/// Digits of an amount before its point, at most: no report has more, and sums of so many lines fit.
const DIGITS_MAX: usize = 15;

/// An amount of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) minor: i64,
    pub(super) currency: Currency,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The file, and its number there.
    pub(super) place: String,
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) category: String,
    /// What it is about: a charge, a refund, a dispute, a payout.
    pub(super) source: String,
    /// The payment intent; empty if it is of none.
    pub(super) intent: String,
    /// The payout that it is in; empty if it is in none, or the report does not say.
    pub(super) payout: String,
    pub(super) gross: Amount,
    pub(super) fee: i64,
    pub(super) net: i64,
    /// What the buyer has seen, if the report says so.
    pub(super) seen_by_buyer: Option<Amount>,
}

/// Reads a report.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<Line>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let heading = reader.headers().with_context(|| format!("reading the heading of {file}"))?;
    let columns: BTreeMap<String, usize> =
        heading.iter().enumerate().map(|(index, name)| (name.to_lowercase(), index)).collect();
    let lacks: Vec<&str> = NEEDED.into_iter().filter(|name| !columns.contains_key(*name)).collect();
    if !lacks.is_empty() {
        bail!(
            "{file} has no column {}: it is not Stripe's itemised payout reconciliation report, or was made without them. Choose all columns \
             when you download it, or name them in `columns` of the report run",
            lacks.join(", ")
        );
    }
    let lines = reader.records().map(|record| {
        let record = record.with_context(|| format!("reading {file}"))?;
        let number = record.position().map_or(0, csv::Position::line);
        let place = format!("{file}:{number}");
        Fields { record: &record, columns: &columns }.line(&place).map_err(|wrong| anyhow!("{place}: {wrong}"))
    });
    lines.collect()
}

/// When the first line was, and the last. Stripe says seconds: all of the last one counts.
pub(super) fn span(lines: &[Line]) -> Option<(Timestamp, Timestamp)> {
    let times = || lines.iter().map(|line| line.at);
    Some((times().min()?, times().max()? + std::time::Duration::from_micros(999_999)))
}

/// The fields of a line.
struct Fields<'a> {
    record: &'a StringRecord,
    columns: &'a BTreeMap<String, usize>,
}

impl Fields<'_> {
    fn text(&self, name: &str) -> &str {
        self.columns.get(name).and_then(|index| self.record.get(*index)).unwrap_or_default()
    }

    fn line(&self, place: &str) -> Result<Line, String> {
        let currency = currency("currency", self.text("currency"))?;
        let amount = |name: &str| minor(self.text(name), currency).map_err(|wrong| format!("{name}: {wrong}"));
        let at = time(self.text("created_utc"))?;
        if self.text("balance_transaction_id").is_empty() {
            return Err("it names no balance_transaction_id".to_owned());
        }
        let facing = self.text("customer_facing_currency");
        let seen_by_buyer = match self.text("customer_facing_amount") {
            "" => None,
            text => {
                let currency = self::currency("customer_facing_currency", facing)?;
                let minor = minor(text, currency).map_err(|wrong| format!("customer_facing_amount: {wrong}"))?;
                Some(Amount { minor, currency })
            }
        };
        Ok(Line {
            place: place.to_owned(),
            id: self.text("balance_transaction_id").to_owned(),
            at,
            category: self.text("reporting_category").to_owned(),
            source: self.text("source_id").to_owned(),
            intent: self.text("payment_intent_id").to_owned(),
            payout: self.text("automatic_payout_id").to_owned(),
            gross: Amount { minor: amount("gross")?, currency },
            fee: amount("fee")?,
            net: amount("net")?,
            seen_by_buyer,
        })
    }
}

fn currency(column: &str, text: &str) -> Result<Currency, String> {
    Currency::parse(&text.to_uppercase()).map_err(|_no_code| format!("{column} is {text:?}, which is no currency"))
}

/// A time of a column whose name says that it is UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let written = format!("{}Z", text.trim_end_matches('Z').replacen(' ', "T", 1));
    OffsetDateTime::parse(&written, &Rfc3339)
        .map(Timestamp::from)
        .map_err(|_no_time| format!("created_utc is {text:?}, which is no time such as 2026-12-31 23:59:59"))
}

/// An amount in major units, such as `12.50`, in minor units of its currency.
fn minor(text: &str, currency: Currency) -> Result<i64, String> {
    let wrong = |why: &str| Err(format!("{text:?} is no amount in {currency}{why}"));
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    if digits.contains(',') {
        return wrong(": make the report with a point as decimal_separator");
    }
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|letter| letter.is_ascii_digit());
    if whole.is_empty() || whole.len() > DIGITS_MAX || !is_number(whole) || !is_number(part) {
        return wrong("");
    }
    let places = currency.digits();
    let (counted, beyond) = part.split_at(part.len().min(places));
    if beyond.bytes().any(|digit| digit != b'0') {
        return wrong(&format!(", which has {places} digits behind the point"));
    }
    let all = format!("{whole}{counted:0<places$}");
    all.parse::<i64>().map(|minor| sign * minor).or_else(|_too_large| wrong(""))
}

#[cfg(test)]
mod tests {
    use domain::{Currency, Timestamp};

    use super::{minor, read, span};

    const HEADING: &str = "automatic_payout_id,balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,payment_intent_id";

    fn line_of(line: &str) -> Result<Vec<super::Line>, String> {
        read("payout.csv", format!("{HEADING}\n{line}\n").as_bytes()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        for (text, currency, minor_units) in [
            ("12.50", "EUR", 1_250),
            ("12.5", "EUR", 1_250),
            ("-0.05", "EUR", -5),
            ("30", "EUR", 3_000),
            ("1250", "JPY", 1_250),
            ("1250.00", "JPY", 1_250),
            ("1.250", "KWD", 1_250),
            ("500", "ISK", 500),
        ] {
            assert_eq!(minor(text, Currency::parse(currency).unwrap()), Ok(minor_units), "{text} {currency}");
        }
        for (text, currency) in [
            ("12.505", "EUR"),
            ("1.5", "JPY"),
            ("", "EUR"),
            ("12,50", "EUR"),
            ("1e3", "EUR"),
            (".5", "EUR"),
            ("-", "EUR"),
            ("--1", "EUR"),
            ("1234567890123456", "EUR"),
        ] {
            assert!(minor(text, Currency::parse(currency).unwrap()).is_err(), "{text} {currency}");
        }
    }

    #[test]
    fn a_line_is_read_by_the_names_of_its_columns() {
        let lines = line_of("po_1,txn_1,2026-11-29 12:00:00,eur,12.50,0.45,12.05,charge,ch_1,pi_1").unwrap();
        let line = &lines[0];
        assert_eq!((line.gross.minor, line.fee, line.net), (1_250, 45, 1_205));
        assert_eq!((line.place.as_str(), line.intent.as_str(), line.payout.as_str()), ("payout.csv:2", "pi_1", "po_1"));
        let noon = Timestamp::from_micros(1_795_953_600_000_000);
        assert_eq!(span(&lines).unwrap(), (noon, Timestamp::from_micros(noon.as_micros() + 999_999)));
    }

    #[test]
    fn what_is_no_such_report_is_refused_in_words() {
        for (text, words) in [
            ("", "has no column balance_transaction_id, created_utc, currency"),
            (
                "payout_id,effective_at,currency,gross,fee,net\n",
                "has no column balance_transaction_id, created_utc, reporting_category",
            ),
        ] {
            let refused = format!("{:#}", read("payout.csv", text.as_bytes()).unwrap_err());
            assert!(refused.contains(words), "{refused}");
        }
        for (line, words) in [
            (
                "po_1,txn_1,2026-11-29 12:00:00,eur,12.505,0.45,12.05,charge,ch_1,pi_1",
                "payout.csv:2: gross: \"12.505\" is no amount in EUR, which has 2 digits",
            ),
            ("po_1,txn_1,29.11.2026,eur,12.50,0.45,12.05,charge,ch_1,pi_1", "which is no time such as"),
            ("po_1,txn_1,2026-11-29 12:00:00,euro,12.50,0.45,12.05,charge,ch_1,pi_1", "\"euro\", which is no currency"),
            ("po_1,,2026-11-29 12:00:00,eur,12.50,0.45,12.05,charge,ch_1,pi_1", "names no balance_transaction_id"),
            ("po_1,txn_1", "reading payout.csv"),
        ] {
            let refused = line_of(line).unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }
}
