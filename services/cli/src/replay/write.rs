//! What a replay found, in each format.

use anyhow::Result;
use audit::replay::{Answer, Figure, Kind, Movement, Question};
use domain::written;
use platform::print::{self, Cell, Look, Paint};
use serde_json::{Map, Value};

use super::{columns, spool::Spool};
use crate::{
    evidence,
    listing::{Blocks, Format, Out, fields},
};

/// Writes it to standard output.
pub(super) fn write(question: &Question, answer: &mut Answer<Spool>, format: Format, paint: Paint) -> Result<()> {
    match format {
        Format::Table => table(question, answer, paint),
        Format::Csv => csv(question, answer),
        Format::Json => json(question, answer),
        Format::Jsonl => jsonl(answer),
    }
}

fn jsonl(answer: &mut Answer<Spool>) -> Result<()> {
    let mut out = Out::default();
    out.line(&format!("{{\"evidence\":{}}}", serde_json::to_string(&answer.evidence)?))?;
    for movement in answer.movements.read()? {
        out.line(&format!("{{\"movement\":{}}}", movement?))?;
    }
    answer.rows.each(&mut |row| out.line(&format!("{{\"row\":{}}}", Value::Object(row))))?;
    out.flush()
}

fn json(question: &Question, answer: &mut Answer<Spool>) -> Result<()> {
    let mut out = Out::default();
    out.0.push_str(&format!("{{\"evidence\":{}", serde_json::to_string(&answer.evidence)?));
    if question.movements {
        out.0.push_str(",\"movements\":[");
        let mut comma = "";
        for movement in answer.movements.read()? {
            out.0.push_str(comma);
            out.0.push_str(&movement?);
            comma = ",";
            out.part()?;
        }
        out.0.push(']');
    }
    out.0.push_str(",\"rows\":[");
    let mut comma = "";
    answer.rows.each(&mut |row| {
        out.0.push_str(comma);
        out.0.push_str(&Value::Object(row).to_string());
        comma = ",";
        out.part()
    })?;
    out.line("]}")?;
    out.flush()
}

fn csv(question: &Question, answer: &mut Answer<Spool>) -> Result<()> {
    let kind = question.kind;
    let mut out = Out::default();
    for line in evidence::of_replay(&answer.evidence) {
        out.line(&line)?;
    }
    if question.movements {
        let names =
            ["position", "recorded_at", kind.key_name(), "event", "event_id", "order_id", "payment_id", "status"];
        let figures = kind.figures().iter().flat_map(|name| [format!("{name}_delta"), (*name).to_owned()]);
        let heading: Vec<String> = names.into_iter().map(str::to_owned).chain(figures).collect();
        out.line(&fields(heading))?;
        for movement in answer.movements.read()? {
            out.line(&fields(movement_fields(kind, serde_json::from_str(&movement?)?)))?;
        }
        return out.flush();
    }
    out.line(&fields(columns::of(kind).iter().map(|column| column.name.to_owned())))?;
    answer.rows.each(&mut |row| {
        let row = Value::Object(row);
        out.line(&fields(columns::of(kind).iter().map(|column| column.plain(&row))))
    })?;
    out.flush()
}

fn movement_fields(kind: Kind, movement: Movement) -> Vec<String> {
    let figure = |name: &&str| movement.figures.get(*name).copied().unwrap_or(Figure { delta: 0, balance: 0 });
    let figures = kind.figures().iter().map(figure);
    let figures = figures.flat_map(|figure| [figure.delta.to_string(), figure.balance.to_string()]);
    let named = [
        movement.position.to_string(),
        movement.recorded_at.clone(),
        movement.key.clone(),
        proto::short_name(&movement.event).to_owned(),
        movement.event_id.to_string(),
        movement.order_id.clone().unwrap_or_default(),
        movement.payment_id.clone().unwrap_or_default(),
        movement.status.clone().unwrap_or_default(),
    ];
    named.into_iter().chain(figures).collect()
}

fn table(question: &Question, answer: &mut Answer<Spool>, paint: Paint) -> Result<()> {
    let kind = question.kind;
    for line in evidence::of_replay(&answer.evidence) {
        print::out(&paint.text(&format!("{line}\n"), Look::Dim))?;
    }
    if question.movements {
        let heading = ["position", "recorded_at", kind.key_name(), "event", "of", "what changed", "status"];
        let mut blocks = Blocks::new(heading.map(str::to_owned), paint);
        for movement in answer.movements.read()? {
            blocks.row(movement_cells(kind, serde_json::from_str(&movement?)?))?;
        }
        blocks.flush()?;
        print::out("\n")?;
    }
    let shown = || columns::of(kind).iter().filter(move |column| !column.is_told_with_others(kind));
    let mut blocks = Blocks::new(shown().map(|column| column.heading().to_owned()), paint);
    answer.rows.each(&mut |row: Map<String, Value>| {
        let row = Value::Object(row);
        blocks.row(shown().map(|column| column.readable(&row).into()).collect())
    })?;
    blocks.flush()
}

fn movement_cells(kind: Kind, movement: Movement) -> Vec<Cell> {
    let amount = |minor: i64| movement.currency.as_ref().map_or_else(|| minor.to_string(), |of| written(minor, of));
    let changed = kind.figures().iter().filter_map(|name| {
        let Figure { delta, balance } = *movement.figures.get(*name)?;
        let sign = if delta > 0 { "+" } else { "" };
        let name = name.strip_suffix("_minor").unwrap_or(name);
        (delta != 0).then(|| format!("{name} {sign}{} = {}", amount(delta), amount(balance)))
    });
    let of = movement.order_id.as_ref().map(|id| format!("order {id}"));
    let of = of.or_else(|| movement.payment_id.as_ref().map(|id| format!("payment {id}")));
    let status = movement.status.clone().filter(|_| movement.status_changed);
    vec![
        Cell::new(movement.position, Look::Dim),
        Cell::new(&movement.recorded_at, Look::Dim),
        movement.key.as_str().into(),
        Cell::new(proto::short_name(&movement.event), Look::Bold),
        Cell::new(of.unwrap_or_default(), Look::Dim),
        changed.collect::<Vec<_>>().join(", ").into(),
        status.unwrap_or_default().into(),
    ]
}
