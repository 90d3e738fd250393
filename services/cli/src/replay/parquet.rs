//! What a replay found as Parquet: one table, as of csv, with the evidence and the hash of the file at its end.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Seek, Write},
};

use anyhow::{Context, Result};
use audit::{
    export::{
        columnar::{Cell, Column, Holds, Writer},
        sealed,
    },
    replay::{Answer, Figure, Kind, Movement, Question},
};
use serde_json::Value;

use super::{columns, spool::Spool};
use crate::new_file::NewFile;

/// Whether it would go to somebody who reads, and not to a program or a file.
pub(super) fn is_for_nobody(file: Option<&NewFile>) -> bool {
    file.is_none() && io::stdout().is_terminal()
}

/// Writes it to a file, or to standard output once it is whole.
pub(super) fn write(question: &Question, answer: &mut Answer<Spool>, file: Option<NewFile>) -> Result<()> {
    if let Some(mut file) = file {
        table(question, answer, file.file()).and_then(|()| sealed::put(file.file()))?;
        return file.end();
    }
    let mut file = tempfile::tempfile().context("making a temporary file")?;
    table(question, answer, &mut file).and_then(|()| sealed::put(&mut file))?;
    file.rewind().context("reading a temporary file")?;
    match io::copy(&mut file, &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        copied => copied.map(drop).context("writing to standard output"),
    }
}

fn table(question: &Question, answer: &mut Answer<Spool>, file: &mut File) -> Result<()> {
    let Answer { evidence, rows, movements, .. } = answer;
    let said = [("evidence", serde_json::to_string(evidence)?), (sealed::NAME, sealed::NOT_YET.to_owned())];
    let (kind, out) = (question.kind, BufWriter::new(file));
    let mut out = if question.movements {
        let mut table = Writer::new(out, &movement_columns(kind), &said)?;
        for movement in movements.read()? {
            table.row(movement_cells(kind, serde_json::from_str(&movement?)?))?;
        }
        table.end()?
    } else {
        let columns: Vec<Column> = columns::of(kind).iter().map(columns::Column::of_parquet).collect();
        let mut table = Writer::new(out, &columns, &said)?;
        rows.each(&mut |row| {
            let row = Value::Object(row);
            table.row(columns::of(kind).iter().map(|column| column.cell(&row)).collect::<Result<_>>()?)
        })?;
        table.end()?
    };
    out.flush().context("writing the file")
}

fn movement_columns(kind: Kind) -> Vec<Column> {
    let mut columns = vec![
        Column::new("position", Holds::Integer),
        Column::new("recorded_at", Holds::Time),
        Column::new(kind.key_name(), Holds::Text),
        Column::new("event", Holds::Text),
        Column::new("event_id", Holds::Text),
        Column::new("order_id", Holds::MaybeText),
        Column::new("payment_id", Holds::MaybeText),
        Column::new("status", Holds::MaybeText),
        Column::new("currency", Holds::MaybeText),
    ];
    for name in kind.figures() {
        columns.push(Column { name: format!("{name}_delta").into(), holds: Holds::Integer });
        columns.push(Column::new(name, Holds::Integer));
    }
    columns
}

fn movement_cells(kind: Kind, movement: Movement) -> Vec<Cell<'static>> {
    let maybe = |text: Option<String>| text.map_or(Cell::Nothing, Cell::from);
    let mut cells = vec![
        Cell::Integer(movement.position.get()),
        Cell::Time(movement.recorded_at),
        movement.key.into(),
        proto::short_name(&movement.event).to_owned().into(),
        movement.event_id.to_string().into(),
        maybe(movement.order_id),
        maybe(movement.payment_id),
        maybe(movement.status),
        maybe(movement.currency),
    ];
    for name in kind.figures() {
        let figure = movement.figures.get(*name).copied().unwrap_or(Figure { delta: 0, balance: 0 });
        cells.extend([Cell::Integer(figure.delta), Cell::Integer(figure.balance)]);
    }
    cells
}
