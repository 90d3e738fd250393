//! What a replay found, in each format that is text.

use anyhow::Result;
use audit::replay::{Answer, Figure, Kind, Movement, Question};
use domain::written;
use platform::print::{Cell, Look, Paint};
use serde_json::{Map, Value};

use super::{columns, spool::Spool};
use crate::{
    evidence,
    listing::{Blocks, Format, To, fields, sealed, sealed_json},
};

/// Writes it.
pub(super) fn write(question: &Question, answer: &mut Answer<Spool>, format: Format, to: To) -> Result<()> {
    match format {
        Format::Table => table(question, answer, to),
        Format::Csv => csv(question, answer, to),
        Format::Json => json(question, answer, to),
        Format::Jsonl => jsonl(answer, to),
    }
}

fn jsonl(answer: &mut Answer<Spool>, to: To) -> Result<()> {
    let Answer { evidence, rows, movements, .. } = answer;
    sealed_json(to, evidence, |out| {
        out.line("}")?;
        for movement in movements.read()? {
            out.line(&format!("{{\"movement\":{}}}", movement?))?;
        }
        rows.each(&mut |row| out.line(&format!("{{\"row\":{}}}", Value::Object(row))))
    })
}

fn json(question: &Question, answer: &mut Answer<Spool>, to: To) -> Result<()> {
    let Answer { evidence, rows, movements, .. } = answer;
    sealed_json(to, evidence, |out| {
        if question.movements {
            out.text.push_str(",\"movements\":[");
            let mut comma = "";
            for movement in movements.read()? {
                out.text.push_str(comma);
                out.text.push_str(&movement?);
                comma = ",";
                out.part()?;
            }
            out.text.push(']');
        }
        out.text.push_str(",\"rows\":[");
        let mut comma = "";
        rows.each(&mut |row| {
            out.text.push_str(comma);
            out.text.push_str(&Value::Object(row).to_string());
            comma = ",";
            out.part()
        })?;
        out.line("]}")
    })
}

fn csv(question: &Question, answer: &mut Answer<Spool>, to: To) -> Result<()> {
    let kind = question.kind;
    let Answer { evidence, rows, movements, .. } = answer;
    sealed(to, &evidence::of_replay(evidence), Paint::Off, |out, _plain| {
        if !question.movements {
            out.line(&fields(columns::of(kind).iter().map(|column| column.name.to_owned())))?;
            return rows.each(&mut |row| {
                let row = Value::Object(row);
                out.line(&fields(columns::of(kind).iter().map(|column| column.plain(&row))))
            });
        }
        let names =
            ["position", "recorded_at", kind.key_name(), "event", "event_id", "order_id", "payment_id", "status"];
        let figures = kind.figures().iter().flat_map(|name| [format!("{name}_delta"), (*name).to_owned()]);
        let heading: Vec<String> = names.into_iter().map(str::to_owned).chain(figures).collect();
        out.line(&fields(heading))?;
        for movement in movements.read()? {
            out.line(&fields(movement_fields(kind, serde_json::from_str(&movement?)?)))?;
        }
        Ok(())
    })
}

fn movement_fields(kind: Kind, movement: Movement) -> Vec<String> {
    let figure = |name: &&str| movement.figures.get(*name).copied().unwrap_or(Figure { delta: 0, balance: 0 });
    let figures = kind.figures().iter().map(figure);
    let figures = figures.flat_map(|figure| [figure.delta.to_string(), figure.balance.to_string()]);
    let named = [
        movement.position.to_string(),
        movement.recorded_at.to_string(),
        movement.key.clone(),
        proto::short_name(&movement.event).to_owned(),
        movement.event_id.to_string(),
        movement.order_id.clone().unwrap_or_default(),
        movement.payment_id.clone().unwrap_or_default(),
        movement.status.clone().unwrap_or_default(),
    ];
    named.into_iter().chain(figures).collect()
}

fn table(question: &Question, answer: &mut Answer<Spool>, to: To) -> Result<()> {
    let kind = question.kind;
    let paint = if let To::Stdout = to { Paint::for_stdout() } else { Paint::Off };
    let Answer { evidence, rows, movements, .. } = answer;
    sealed(to, &evidence::of_replay(evidence), paint, |out, paint| {
        if question.movements {
            let heading = ["position", "recorded_at", kind.key_name(), "event", "of", "what changed", "status"];
            let mut blocks = Blocks::new(heading.map(str::to_owned), paint, out);
            for movement in movements.read()? {
                blocks.row(movement_cells(kind, serde_json::from_str(&movement?)?))?;
            }
            blocks.flush()?;
            out.line("")?;
        }
        let shown = || columns::of(kind).iter().filter(move |column| !column.is_told_with_others(kind));
        let mut blocks = Blocks::new(shown().map(|column| column.heading().to_owned()), paint, out);
        rows.each(&mut |row: Map<String, Value>| {
            let row = Value::Object(row);
            blocks.row(shown().map(|column| column.readable(&row).into()).collect())
        })?;
        blocks.flush()
    })
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
        Cell::new(movement.recorded_at, Look::Dim),
        movement.key.as_str().into(),
        Cell::new(proto::short_name(&movement.event), Look::Bold),
        Cell::new(of.unwrap_or_default(), Look::Dim),
        changed.collect::<Vec<_>>().join(", ").into(),
        status.unwrap_or_default().into(),
    ]
}
