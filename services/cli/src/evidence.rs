//! What stands above every answer of an audit, as comment lines.

use std::collections::BTreeMap;

use audit::{
    questions,
    reconcile::{Listed, Payout, Payouts, Total},
    replay::{Chosen, Cut, Database, Evidence},
    what_if::Compared,
};
use domain::written;

/// Of a replay.
pub(crate) fn of_replay(evidence: &Evidence) -> Vec<String> {
    let Evidence { asked, program, database, cut, skew, events_read, events_folded, chosen, shard, rows } = evidence;
    let asked_for = match (asked.position, asked.time) {
        (Some(position), _) => format!("; position {position} was asked for"),
        (None, Some(time)) => format!("; {time} was asked for"),
        (None, None) => "; the end of the log was asked for".to_owned(),
    };
    let first = skew.first_later.map(|position| format!(", the first at position {position}")).unwrap_or_default();
    let (later, earlier, behind) = (skew.later_before_the_cut, skew.earlier_behind_the_cut, skew.looked_at_behind);
    let mut lines = basis((&asked.command, program, database, cut), &asked_for);
    lines.extend([
        format!("clocks        of {}: {later} events before the cut are recorded later{first}; {earlier} of {behind} behind it are not", skew.time),
        format!("read          {events_read} events, {events_folded} of them about {}", asked.kind),
    ]);
    lines.extend(chosen.iter().flat_map(of_choice));
    lines.extend(shard.map(|shard| format!("shard         {shard}: a part of all rows")));
    lines.push(format!("rows          {rows}"));
    comments(lines)
}

/// Of a question that single events answer.
pub(crate) fn of_question(evidence: &questions::Evidence) -> Vec<String> {
    let questions::Evidence { command, program, database, cut, rows, extent, payouts, what_if } = evidence;
    let mut lines = basis((command, program, database, cut), "");
    let of = extent.filter(|extent| extent.of != *rows).map(|extent| format!(", the last of {}", extent.of));
    lines.extend(payouts.iter().flat_map(of_payouts));
    lines.extend(what_if.iter().flat_map(of_what_if));
    lines.push(format!("rows          {rows}{}", of.unwrap_or_default()));
    comments(lines)
}

/// What was looked at, and what cannot be known.
fn of_what_if(compared: &Compared) -> Vec<String> {
    let Compared { orders, recorded, would_be, not_known } = compared;
    let ends = |ends: &BTreeMap<&'static str, usize>| {
        ends.iter().map(|(end, orders)| format!("{orders} {end}")).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        format!("orders        {orders} were placed in the period"),
        format!("recorded      {}", ends(recorded)),
        format!("would be      {}", ends(would_be)),
    ];
    lines.extend(not_known.iter().map(|what| format!("not known     {what}")));
    lines
}

/// What the log was compared with, and what that comes to.
fn of_payouts(payouts: &Payouts) -> Vec<String> {
    let Payouts { files, from, to, outcomes, totals, payouts } = payouts;
    let file =
        |Listed { file, lines, sha256 }: &Listed| format!("file          {file}: {lines} lines, SHA-256 {sha256}");
    let mut lines: Vec<String> = files.iter().map(file).collect();
    lines.push(format!("between       {from} and {to}"));
    lines.extend(totals.iter().map(|Total { currency, category, lines, gross_minor, fee_minor, net_minor }| {
        let [gross, fee, net] = [gross_minor, fee_minor, net_minor].map(|minor| written(*minor, currency));
        format!("totals        {category}: {lines} lines, gross {gross}, fee {fee}, net {net}")
    }));
    lines.extend(payouts.iter().map(|Payout { payout_id, currency, lines, net_minor }| {
        let id = if payout_id.is_empty() { "in none" } else { payout_id };
        format!("payout        {id}: {lines} lines, net {}", written(*net_minor, currency))
    }));
    let outcomes: Vec<String> = outcomes.iter().map(|(outcome, rows)| format!("{rows} {outcome}")).collect();
    lines.push(format!("outcome       {}", outcomes.join(", ")));
    lines
}

fn basis((command, program, database, cut): (&str, &str, &Database, &Cut), asked_for: &str) -> Vec<String> {
    let Database { installation, name, database, system_identifier, epoch, role, at } = database;
    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let Cut { position, recorded_at, log_ended } = cut;
    vec![
        format!("asked         {command}"),
        format!("program       {program}"),
        format!("run           {at} by role {role}"),
        format!(
            "installation  {installation}{name}, epoch {epoch}; database {database} of Postgres {system_identifier}"
        ),
        format!(
            "cut           position {position}, recorded at {recorded_at}{asked_for}; the log ended at {log_ended}"
        ),
    ]
}

/// What rows were chosen from.
fn of_choice(chosen: &Chosen) -> Vec<String> {
    let Chosen { status, sample, population, totals, statuses: _ } = chosen;
    let status = status.as_ref().map(|status| format!(" whose status is {status}")).unwrap_or_default();
    let mut lines = vec![format!("population    {population}{status}")];
    for (currency, figures) in totals {
        let figures = figures.iter().map(|(name, sum)| format!("{name} {sum}")).collect::<Vec<_>>().join(", ");
        lines.push(format!("totals        {currency}{}{figures}", if currency.is_empty() { "" } else { ": " }));
    }
    lines.extend(sample.as_ref().map(|sample| {
        format!(
            "sample        {} whose keys have the lowest SHA-256 of {:?}, a line feed and the key",
            sample.size, sample.seed
        )
    }));
    lines
}

fn comments(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("# {line}")).collect()
}
