//! `holdfast what-if`: which orders would have ended otherwise.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use audit::{
    replay::At,
    what_if::{Policy, Question, Row, what_if},
};

use crate::{
    archived::Archived,
    bar::Bar,
    global_args::GlobalArgs,
    listing::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  holdfast what-if --time-to-pay 20m --from 2026-12-01T00:00:00+01:00 --to 2026-12-31T23:59:59+01:00
  holdfast what-if --policy late_payment=rehold --format csv > reheld.csv

Exit codes: 0 all is told; 2 wrong usage; 3 it could not be read.";

const HEADING: [&str; 7] = ["order_id", "position", "placed_at", "recorded", "would_be", "dependants", "why"];

/// The shortest and the longest time to pay, as for orders.
const TIME_TO_PAY: std::ops::RangeInclusive<u64> = 5..=604_800;

/// Options of `holdfast what-if`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Had this been the policy of all of them: late_payment=refund or late_payment=rehold.
    #[arg(long, value_name = "NAME=WORD", value_parser = policy, required_unless_present = "time_to_pay")]
    policy: Option<Policy>,
    /// Had this been the time to pay of all of them: a number with s, m, h or d, from 5s to 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    time_to_pay: Option<Duration>,
    /// Of orders that were placed behind the event at this position, or behind this time: RFC 3339 with its zone. Without it: of all.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    from: Option<At>,
    /// With the event at this position, or up to this time. Without it: to the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    to: Option<At>,
    /// How to print.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    archived: Archived,
}

fn policy(text: &str) -> Result<Policy, String> {
    let word = text.strip_prefix("late_payment=");
    word.and_then(Policy::parse).ok_or_else(|| "there are late_payment=refund and late_payment=rehold".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let no_time = || format!("{text:?} is no time from 5s to 7d, such as 90s, 20m, 2h or 1d");
    let unit = text.chars().next_back().ok_or_else(no_time)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(no_time()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(no_time)?;
    let all = number.saturating_mul(seconds);
    if TIME_TO_PAY.contains(&all) { Ok(Duration::from_secs(all)) } else { Err(no_time()) }
}

/// Tells them.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { policy, time_to_pay, from, to, format, archived } = args;
    let Some(format) = Format::asked(format, global) else { return Ok(ExitCode::from(2)) };
    let question = Question { from, to, late_payment: policy, time_to_pay };
    let bar = Bar::new();
    let answer = what_if(archived.with(&global.database_url()?), &question, |progress| bar.show(progress)).await;
    bar.end();
    listing::write(&answer?, &HEADING, format, values)?;
    Ok(ExitCode::SUCCESS)
}

fn values(row: &Row) -> Vec<String> {
    let Row { order_id, position, placed_at, recorded, would_be, why, dependants } = row;
    vec![
        order_id.clone(),
        position.to_string(),
        placed_at.to_string(),
        recorded.as_str().to_owned(),
        would_be.as_str().to_owned(),
        dependants.to_string(),
        why.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use audit::what_if::Policy;

    use super::{policy, time};

    #[test]
    fn times_and_policies_are_read_by_their_words() {
        for (text, seconds) in [("5s", 5), ("20m", 1_200), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "20", "4s", "8d", "-5m", "m", "1.5h", "20 m", "99999999999999999999d"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(policy("late_payment=rehold"), Ok(Policy::Rehold));
        for text in ["rehold", "late_payment=keep", "late_payment"] {
            assert!(policy(text).is_err(), "{text}");
        }
    }
}
