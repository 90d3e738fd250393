//! Lines and books, matched with each other. It knows no IO.

use std::collections::{BTreeMap, BTreeSet};

use domain::Timestamp;

use super::{
    Outcome, Payout, Row, Total,
    books::{Books, Kind, Moved},
    report::{Amount, Line},
};

/// What was found.
pub(super) struct Compared {
    pub(super) rows: Vec<Row>,
    /// Lines of what the log could know,
    pub(super) asked: usize,
    /// and of what it does know.
    pub(super) known: usize,
}

/// Matches each line with what the log says of the same reference.
pub(super) fn compare(lines: &[Line], mut books: Books, (from, to): (Timestamp, Timestamp)) -> Compared {
    let (mut rows, mut seen, mut asked, mut known) = (Vec::new(), BTreeSet::new(), 0, 0);
    let reversals = reversals(lines);
    for line in lines {
        if !seen.insert(line.id.as_str()) {
            rows.push(row(Outcome::Twice, line, None));
            continue;
        }
        if line.gross.minor.saturating_sub(line.fee) != line.net {
            let note = format!("gross {} - fee {} is not net {}", line.gross.minor, line.fee, line.net);
            rows.push(Row { note: Some(note), ..row(Outcome::NetDiffers, line, None) });
        }
        let Some(kind) = Kind::of(&line.category) else { continue };
        asked += 1;
        let reversed = if kind == Kind::Charge { reversals.get(line.intent.as_str()).copied().unwrap_or(0) } else { 0 };
        let theirs = Amount { minor: line.gross.minor.saturating_add(reversed), ..line.gross };
        let Some(moved) = take(&mut books, kind, line) else {
            rows.push(row(Outcome::OnlyThere, line, None));
            continue;
        };
        known += 1;
        rows.push(told(line, theirs, &moved));
    }
    let is_missing = |moved: &&Moved| moved.is_sure && (from..=to).contains(&moved.at);
    rows.extend(books.moved.values().filter(is_missing).map(missing));
    rows.extend(wrong_payouts(lines));
    rows.sort_by(|a, b| (a.at, &a.reference).cmp(&(b.at, &b.reference)));
    Compared { rows, asked, known }
}

/// What was authorised and not taken: Stripe books all of an authorisation, and this back.
fn reversals(lines: &[Line]) -> BTreeMap<&str, i64> {
    let mut reversals = BTreeMap::new();
    for line in lines.iter().filter(|line| line.category == "partial_capture_reversal") {
        let sum: &mut i64 = reversals.entry(line.intent.as_str()).or_default();
        *sum = sum.saturating_add(line.gross.minor);
    }
    reversals
}

/// What the log says of a line's money. A refund of which nothing was heard yet is known by its charge and its amount.
fn take(books: &mut Books, kind: Kind, line: &Line) -> Option<Moved> {
    if let Some(moved) = books.moved.remove(&(kind, kind.reference(line).to_owned())) {
        return Some(moved);
    }
    let is_it = |(intent, refund): &(String, Moved)| {
        kind == Kind::Refund && *intent == line.intent && refund.amount == line.gross
    };
    let place = books.under_way.iter().position(is_it)?;
    Some(books.under_way.swap_remove(place).1)
}

/// A line that the log knows: whether the amounts agree. What is settled in another currency is compared as the buyer has seen it.
fn told(line: &Line, theirs: Amount, moved: &Moved) -> Row {
    let ours = moved.amount;
    let (theirs, is_settled) = match line.seen_by_buyer {
        Some(seen) if theirs.currency != ours.currency => {
            let sign = if ours.minor < 0 { -1 } else { 1 };
            (Amount { minor: sign * seen.minor.saturating_abs(), ..seen }, false)
        }
        Some(_) | None => (theirs, true),
    };
    let outcome = if theirs == ours { Outcome::Matched } else { Outcome::AmountDiffers };
    let note = if theirs.currency != ours.currency {
        Some(format!("the log has it in {}", ours.currency))
    } else if !is_settled {
        Some(format!("settled in {}", line.gross.currency))
    } else if !moved.is_sure && moved.reference.is_empty() {
        Some("the log has no outcome of this refund yet".to_owned())
    } else {
        None
    };
    let theirs_minor = Some(theirs.minor);
    Row { theirs_minor, currency: theirs.currency.to_string(), note, ..row(outcome, line, Some(moved)) }
}

fn row(outcome: Outcome, line: &Line, moved: Option<&Moved>) -> Row {
    let kind = Kind::of(&line.category);
    let reference = kind.map_or(line.source.as_str(), |kind| kind.reference(line));
    Row {
        outcome,
        category: line.category.clone(),
        reference: reference.to_owned(),
        line: Some(line.place.clone()),
        balance_transaction_id: Some(line.id.clone()),
        ours_minor: moved.map(|moved| moved.amount.minor),
        theirs_minor: Some(line.gross.minor),
        currency: line.gross.currency.to_string(),
        payment_id: moved.and_then(|moved| moved.payment_id.clone()),
        refund_id: moved.and_then(|moved| moved.refund_id.clone()),
        order_id: moved.and_then(|moved| moved.order_id.clone()),
        position: moved.map(|moved| moved.position),
        at: line.at,
        note: None,
    }
}

/// What the log has and no line.
fn missing(moved: &Moved) -> Row {
    Row {
        outcome: Outcome::OnlyHere,
        category: moved.kind.word().to_owned(),
        reference: moved.reference.clone(),
        line: None,
        balance_transaction_id: None,
        ours_minor: Some(moved.amount.minor),
        theirs_minor: None,
        currency: moved.amount.currency.to_string(),
        payment_id: moved.payment_id.clone(),
        refund_id: moved.refund_id.clone(),
        order_id: moved.order_id.clone(),
        position: Some(moved.position),
        at: moved.at,
        note: None,
    }
}

/// Lines that count: each balance transaction once.
fn counted(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let mut seen = BTreeSet::new();
    lines.iter().filter(move |line| seen.insert(line.id.as_str()))
}

/// Payouts that have a line of their own which is not what their other lines come to.
fn wrong_payouts(lines: &[Line]) -> Vec<Row> {
    let nets = payouts(lines);
    let net_of = |id: &str, currency: String| nets.get(&(id.to_owned(), currency)).map(|payout| payout.net_minor);
    let own = counted(lines).filter(|line| line.category == "payout");
    let wrong = own.filter_map(|line| {
        let net = net_of(&line.source, line.gross.currency.to_string()).unwrap_or(0);
        let is_right = net.saturating_add(line.gross.minor) == 0;
        (!is_right).then(|| {
            let note = format!("its other lines come to {net}");
            Row { note: Some(note), ..row(Outcome::PayoutDiffers, line, None) }
        })
    });
    wrong.collect()
}

fn payouts(lines: &[Line]) -> BTreeMap<(String, String), Payout> {
    let mut payouts = BTreeMap::new();
    for line in counted(lines).filter(|line| line.category != "payout") {
        let key = (line.payout.clone(), line.gross.currency.to_string());
        let (payout_id, currency) = key.clone();
        let payout = payouts.entry(key).or_insert(Payout { payout_id, currency, lines: 0, net_minor: 0 });
        payout.lines += 1;
        payout.net_minor = payout.net_minor.saturating_add(line.net);
    }
    payouts
}

/// Sums by currency and category, and what each payout comes to.
pub(super) fn totals(lines: &[Line]) -> (Vec<Total>, Vec<Payout>) {
    let mut totals: BTreeMap<(String, String), Total> = BTreeMap::new();
    for line in counted(lines) {
        let key = (line.gross.currency.to_string(), line.category.clone());
        let (currency, category) = key.clone();
        let none = Total { currency, category, lines: 0, gross_minor: 0, fee_minor: 0, net_minor: 0 };
        let total = totals.entry(key).or_insert(none);
        total.lines += 1;
        total.gross_minor = total.gross_minor.saturating_add(line.gross.minor);
        total.fee_minor = total.fee_minor.saturating_add(line.fee);
        total.net_minor = total.net_minor.saturating_add(line.net);
    }
    (totals.into_values().collect(), payouts(lines).into_values().collect())
}

#[cfg(test)]
mod tests;
