//! Tables written and read back, and files of which something was changed.

use std::{borrow::Cow, fs::File, io::Write};

use domain::Timestamp;
use proptest::prelude::*;

use super::{Cell, Column, GROUP_ROWS, Holds, Reader, Writer};

const COLUMNS: &[Column] = &[
    Column::new("number", Holds::Integer),
    Column::new("maybe_number", Holds::MaybeInteger),
    Column::new("time", Holds::Time),
    Column::new("maybe_time", Holds::MaybeTime),
    Column::new("text", Holds::Text),
    Column::new("maybe_text", Holds::MaybeText),
    Column::new("json", Holds::Json),
    Column::new("bytes", Holds::Bytes),
];

fn maybe<'a>(is_there: bool, cell: Cell<'a>) -> Cell<'a> {
    if is_there { cell } else { Cell::Nothing }
}

fn row(number: i64, is_there: bool, text: &str) -> Vec<Cell<'static>> {
    let time = Cell::Time(Timestamp::from_micros(number));
    vec![
        Cell::Integer(number),
        maybe(is_there, Cell::Integer(-number)),
        time.clone(),
        maybe(is_there, time),
        text.to_owned().into(),
        maybe(is_there, text.to_uppercase().into()),
        format!("{{\"number\":{number}}}").into(),
        Cell::Bytes(Cow::Owned(number.to_be_bytes().to_vec())),
    ]
}

fn written(rows: impl IntoIterator<Item = Vec<Cell<'static>>>) -> Vec<u8> {
    let mut table = Writer::new(Vec::new(), COLUMNS, &[("evidence", "{}".to_owned())]).unwrap();
    rows.into_iter().for_each(|row| table.row(row).unwrap());
    table.end().unwrap()
}

fn read(bytes: &[u8]) -> anyhow::Result<Vec<Vec<Cell<'static>>>> {
    let mut file: File = tempfile::tempfile()?;
    file.write_all(bytes)?;
    let mut table = Reader::open(file, COLUMNS)?;
    let mut rows = Vec::new();
    while let Some(row) = table.row()? {
        rows.push(row);
    }
    Ok(rows)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in prop::collection::vec((any::<i32>(), any::<bool>(), ".{0,20}"), 0..50)) {
        let rows: Vec<_> = rows.iter().map(|(number, is_there, text)| row((*number).into(), *is_there, text)).collect();
        prop_assert_eq!(read(&written(rows.clone())).unwrap(), rows);
    }
}

#[test]
fn a_table_of_many_groups_is_read_back_in_order() {
    let numbers = 0..i64::try_from(GROUP_ROWS).unwrap() * 2 + 7;
    let of = |number: i64| row(number, number % 3 == 0, "text");
    let rows = read(&written(numbers.clone().map(of))).unwrap();
    assert!(rows.into_iter().eq(numbers.map(of)));
}

#[test]
fn a_value_that_is_none_of_its_column_is_refused() {
    let mut table = Writer::new(Vec::new(), COLUMNS, &[]).unwrap();
    let wrong = |place: usize, cell: Cell<'static>| {
        let mut row = row(7, true, "text");
        row[place] = cell;
        row
    };
    for row in [
        wrong(0, Cell::Nothing),
        wrong(0, "seven".into()),
        wrong(4, Cell::Integer(7)),
        wrong(6, Cell::Nothing),
        Vec::new(),
    ] {
        assert!(table.row(row).is_err());
    }
}

/// Whatever a byte says: it is refused, or read as something else, and ends nothing but the reading.
#[test]
fn a_file_of_which_a_byte_was_changed_is_read_or_refused() {
    let bytes = written((0..40).map(|number| row(number, number % 2 == 0, "a text that comes again")));
    for place in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            drop(read(&changed));
        }
        drop(read(&bytes[..place]));
    }
}
