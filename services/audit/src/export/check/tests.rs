//! Exports in Parquet, as they were written and forged.

use std::{fs, fs::File, path::Path};

use domain::{GlobalPosition, StreamVersion, Timestamp};
use proto::{
    Message, Name,
    inventory::v1::{ProductRegistered, StockReceived},
};
use runtime::log::identity::event_id;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Checked, check};
use crate::{
    export::{
        BLOCK, Form, MANIFEST, Writer as Export,
        blocks::{Extent, Line, hex},
        columnar::{Cell, Column, Reader as Table, Writer},
        event::ExportedEvent,
        postings::Posting,
    },
    replay::{fold::LogEvent, prefix::Reader},
};

fn take<M: Message + Name>(export: &mut Export, position: i64, version: i64, message: &M) {
    let (data, message_type) = (message.encode_to_vec(), M::full_name());
    let (stream, version, cause) = ("product-mug", StreamVersion::new(version), Uuid::from_u128(7));
    let event = LogEvent {
        position: GlobalPosition::new(position),
        stream,
        version,
        event_id: event_id(cause, stream, version),
        service: "inventory",
        message_type: &message_type,
        recorded_at: Timestamp::from_micros(1_790_000_000_000_000 + position),
        data: &data,
        correlation_id: cause,
        causation_id: cause,
        traceparent: None,
    };
    export.take(&event).unwrap();
}

/// A product that got three deliveries, in two files of each table.
fn exported(dir: &Path) {
    let block = BLOCK.min(3.try_into().unwrap());
    let extent = Extent { from: GlobalPosition::new(1), block, form: Form::Parquet };
    let mut export = Export::new(extent, dir).unwrap();
    let sku = "mug".to_owned();
    take(&mut export, 1, 1, &ProductRegistered { sku: sku.clone(), name: "Mug".to_owned(), actor: String::new() });
    for version in 2..5 {
        let received = StockReceived { sku: sku.clone(), quantity: version, ..StockReceived::default() };
        take(&mut export, version, version, &received);
    }
    let contents = serde_json::to_string(&export.end().unwrap()).unwrap();
    fs::write(dir.join(MANIFEST), contents).unwrap();
}

/// Changes a row of the first file of a table, and what the manifest says of it.
fn forge(dir: &Path, table: &str, columns: &[Column], change: impl FnOnce(&mut Vec<Vec<Cell<'static>>>)) {
    let mut manifest: Value = serde_json::from_slice(&fs::read(dir.join(MANIFEST)).unwrap()).unwrap();
    let path = dir.join(manifest[table][0]["file"].as_str().unwrap());
    let mut old = Table::open(File::open(&path).unwrap(), columns).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = old.row().unwrap() {
        rows.push(row);
    }
    change(&mut rows);
    let mut new = Writer::new(Vec::new(), columns, &[]).unwrap();
    let lines = rows.len();
    rows.into_iter().for_each(|row| new.row(row).unwrap());
    let bytes = new.end().unwrap();
    manifest[table][0]["sha256"] = json!(hex(&Sha256::digest(&bytes)));
    manifest[table][0]["lines"] = json!(lines);
    fs::write(path, bytes).unwrap();
    fs::write(dir.join(MANIFEST), manifest.to_string()).unwrap();
}

fn of_forged(table: &str, columns: &[Column], change: impl FnOnce(&mut Vec<Vec<Cell<'static>>>)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    exported(dir.path());
    forge(dir.path(), table, columns, change);
    check(dir.path()).unwrap().findings
}

#[test]
fn a_parquet_export_is_proven_from_its_files_and_written_anew_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    exported(dir.path());
    let checked = check(dir.path()).unwrap();
    let well = Checked { ok: true, files: 4, events: 4, postings: 9, postings_recomputed: true, findings: Vec::new() };
    assert_eq!(checked, well);
    // By another writer its bytes may be others: what counts is the rows.
    assert_eq!(of_forged("postings", Posting::COLUMNS, |_rows| ()), Vec::<String>::new());
    assert_eq!(of_forged("events", ExportedEvent::COLUMNS, |_rows| ()), Vec::<String>::new());
}

#[test]
fn what_a_forger_changes_in_a_row_is_found_though_its_hash_is_changed_with_it() {
    let found = |findings: Vec<String>, words: &str| {
        assert!(findings.iter().any(|finding| finding.contains(words)), "{words}: {findings:?}");
    };
    let not_from_events = "its postings do not follow from the events";
    found(of_forged("postings", Posting::COLUMNS, |rows| rows[0][6] = Cell::Integer(99)), not_from_events);
    found(of_forged("postings", Posting::COLUMNS, |rows| rows.swap(0, 1)), not_from_events);
    found(of_forged("postings", Posting::COLUMNS, |rows| drop(rows.pop())), not_from_events);
    let events = |change: fn(&mut Vec<Vec<Cell<'static>>>)| of_forged("events", ExportedEvent::COLUMNS, change);
    found(events(|rows| rows[1][10] = "{}".into()), "is not what its bytes say");
    found(events(|rows| rows[1][10] = "{".into()), "line 2: it is no event: what it says is no JSON");
    found(events(|rows| rows[1][3] = Uuid::nil().to_string().into()), "its cause and its place give");
    found(events(|rows| drop(rows.remove(1))), "comes after version 1: events of it are missing");
    found(events(|rows| rows.swap(1, 2)), "comes after position");
    found(events(|rows| rows[2][9] = Cell::Time(Timestamp::from_micros(7))), "of other times than the manifest says");
    found(events(|rows| rows[0][11] = Cell::Bytes(vec![0xff].into())), "cannot be read: use the release");
}
