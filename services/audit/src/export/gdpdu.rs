//! What makes an export one that tax auditors take: a description of its files (the German *Beschreibungsstandard für die Datenträgerüberlassung*,
//! GoBD, Z3) beside them, and all of it in one zip file.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{Contents, Listed, MANIFEST, Manifest, blocks::hex, event, postings};

/// The description.
const INDEX: &str = "index.xml";

/// Its grammar, under the name by which programs look for it.
const GRAMMAR: &str = "gdpdu-01-09-2004.dtd";

/// What a column holds.
#[derive(Debug, Clone, Copy)]
enum Holds {
    Text,
    Number,
    /// A number with so many digits behind the comma, at most.
    Decimal(u8),
    Day,
}

/// What a column of the events says, and what it holds.
fn event_column(name: &str) -> (&'static str, Holds) {
    match name {
        "position" => ("place in the log", Holds::Number),
        "stream" => ("what it changed", Holds::Text),
        "version" => ("its place among the changes of that", Holds::Number),
        "event_id" => ("its id, which follows from causation_id, stream and version", Holds::Text),
        "service" => ("which program wrote it", Holds::Text),
        "type" => ("what happened", Holds::Text),
        "correlation_id" => ("what it belongs to", Holds::Text),
        "causation_id" => ("what it follows from", Holds::Text),
        "traceparent" => ("its trace, if it has one", Holds::Text),
        "recorded_at" => ("when it was written, in UTC", Holds::Text),
        "event" => ("what it says, as JSON", Holds::Text),
        _ => ("its very bytes, in base64", Holds::Text),
    }
}

/// The same of the postings.
fn posting_column(name: &str) -> (&'static str, Holds) {
    match name {
        "position" => ("the event's place in the log", Holds::Number),
        "recorded_on" => ("the day on which it was written, in UTC", Holds::Day),
        "recorded_at" => ("when it was written, in UTC", Holds::Text),
        "event_id" => ("the event that moved it", Holds::Text),
        "kind" => ("stock, shares, orders, payments, coupons or wallets", Holds::Text),
        "key" => ("which of them", Holds::Text),
        "account" => ("which of its figures", Holds::Text),
        "amount" => ("what the event adds to it: money in major units", Holds::Decimal(4)),
        _ => ("of money its ISO 4217 code", Holds::Text),
    }
}

/// Writes the description of an export and its grammar beside it: their names and hashes.
pub(super) fn describe(manifest: &Manifest, dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut described = BTreeMap::new();
    for (name, text) in [(INDEX, index(manifest)), (GRAMMAR, include_str!("gdpdu.dtd").to_owned())] {
        std::fs::write(dir.join(name), &text).with_context(|| format!("writing {name}"))?;
        described.insert(name.to_owned(), hex(&Sha256::digest(&text)));
    }
    Ok(described)
}

fn index(manifest: &Manifest) -> String {
    let Manifest { command, program, database, cut, contents, .. } = manifest;
    let supplier = database.name.clone().unwrap_or_else(|| database.installation.to_string());
    let comment = format!(
        "{command}; {program}; log up to position {}, recorded at {}; {MANIFEST} has the evidence",
        cut.position, cut.recorded_at
    );
    let mut tables = String::new();
    for listed in &contents.events {
        tables += &table(
            "events",
            "the log, one event a line",
            listed,
            &event::COLUMNS.map(|name| (name, event_column(name))),
        );
    }
    for listed in &contents.postings {
        let columns = postings::COLUMNS.map(|name| (name, posting_column(name)));
        tables += &table("postings", "what each event adds to each figure", listed, &columns);
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE DataSet SYSTEM \"{GRAMMAR}\">\n<DataSet>\n<Version>1.0</Version>\n\
         <DataSupplier><Name>{}</Name><Location>{}</Location><Comment>{}</Comment></DataSupplier>\n\
         <Media><Name>Holdfast</Name>\n{tables}</Media>\n</DataSet>\n",
        escaped(&supplier),
        escaped(&format!("installation {}, epoch {}", database.installation, database.epoch)),
        escaped(&comment)
    )
}

/// One file. Its first column is what its lines are in order of.
fn table(name: &str, description: &str, listed: &Listed, columns: &[(&str, (&str, Holds))]) -> String {
    let mut told = String::new();
    for (index, (column, (says, holds))) in columns.iter().enumerate() {
        let element = if index == 0 && name == "events" { "VariablePrimaryKey" } else { "VariableColumn" };
        let holds = match holds {
            Holds::Text => "<AlphaNumeric/>".to_owned(),
            Holds::Number => "<Numeric/>".to_owned(),
            Holds::Decimal(digits) => format!("<Numeric><Accuracy>{digits}</Accuracy></Numeric>"),
            Holds::Day => "<Date><Format>YYYY-MM-DD</Format></Date>".to_owned(),
        };
        told += &format!("<{element}><Name>{column}</Name><Description>{says}</Description>{holds}</{element}>\n");
    }
    let Listed { file, first, last, .. } = listed;
    format!(
        "<Table><URL>{}</URL><Name>{name} {first} to {last}</Name><Description>{description}</Description><UTF8/>\
         <DecimalSymbol>,</DecimalSymbol><DigitGroupingSymbol>.</DigitGroupingSymbol>\n<VariableLength>\
         <ColumnDelimiter>;</ColumnDelimiter><RecordDelimiter>&#13;&#10;</RecordDelimiter>\
         <TextEncapsulator>&quot;</TextEncapsulator>\n{told}</VariableLength></Table>\n",
        escaped(file)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Packs the files of an export into one, which appears when all of it is written.
pub(super) fn pack(contents: &Contents, dir: &Path, file: &Path) -> Result<()> {
    let failed = || format!("writing {}", file.display());
    let part = dir.join("zip");
    let mut zip = ZipWriter::new(File::create_new(&part).with_context(failed)?);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    let tables = contents.events.iter().chain(&contents.postings).map(|listed| listed.file.as_str());
    for name in contents.beside.keys().map(String::as_str).chain(tables).chain([MANIFEST]) {
        zip.start_file(name, options).with_context(failed)?;
        let mut part = File::open(dir.join(name)).with_context(|| format!("reading {name}"))?;
        io::copy(&mut part, &mut zip).with_context(failed)?;
    }
    zip.finish().with_context(failed)?.sync_all().with_context(failed)?;
    // Not over a file that has come meanwhile.
    std::fs::hard_link(&part, file).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_name_is_a_text_in_the_description() {
        assert_eq!(escaped("A & B <C>"), "A &amp; B &lt;C&gt;");
    }
}
