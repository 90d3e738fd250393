//! Where records begin and end.

use std::io::BufReader;

use super::{Fault, RECORD_BYTES_MAX, Records};

type Read = (u64, Result<Vec<String>, Fault>);

fn read(input: &[u8]) -> Vec<Read> {
    // A small buffer, so that records cross its end.
    let mut records = Records::new(BufReader::with_capacity(7, input));
    let text = |field: &Vec<u8>| String::from_utf8_lossy(field).into_owned();
    std::iter::from_fn(|| records.next().unwrap())
        .map(|record| (record.line, record.fields.map(|fields| fields.iter().map(text).collect())))
        .collect()
}

fn good(line: u64, fields: &[&str]) -> Read {
    (line, Ok(fields.iter().map(|field| (*field).to_owned()).collect()))
}

#[test]
fn every_record_is_read_once_whatever_ends_its_lines() {
    assert_eq!(read(b""), []);
    assert_eq!(read(b"one,\ntwo and more\r\n"), [good(1, &["one", ""]), good(2, &["two and more"])]);
    assert_eq!(read(b"\n\r\nlast"), [good(1, &[""]), good(2, &[""]), good(3, &["last"])]);
    assert_eq!(read(b"last\r"), [good(1, &["last"])]);
}

#[test]
fn a_field_in_quotes_may_hold_commas_doubled_quotes_and_line_breaks() {
    assert_eq!(
        read(b"1,\"a, \"\"b\"\"\r\n9,c\n\",2\r\n3,\"\"\n4,\"\"\"\""),
        [good(1, &["1", "a, \"b\"\r\n9,c\n", "2"]), good(4, &["3", ""]), good(5, &["4", "\""])]
    );
}

#[test]
fn a_quotation_mark_that_never_closes_takes_all_that_follows_with_it() {
    for open in ["2,\"b\n3,c\n", "2,\"b\n3,c", "2,\"b\"\"\n3,c\n", "2,\"", "2,\"\n"] {
        let read = read(format!("1,a\n{open}").as_bytes());
        assert_eq!(read, [good(1, &["1", "a"]), (2, Err(Fault::OpenQuote))], "{open}");
    }
}

/// Who does not double quotation marks, or puts blanks before them, may have line breaks inside; none of these may become rows.
#[test]
fn a_quotation_mark_out_of_place_takes_all_that_follows_with_it() {
    for stray in [
        "2,\"RED \"X\"\n3,smuggled\nMUG\"\n",
        "2,\"RED\" \n3,c\n",
        "2,\"RED\"\rX\n3,c\n",
        "2, \"RED\n3,smuggled\nMUG\"\n",
        "2,7\" PLATE,\"RED\nX\"\n3,c",
        "2,\"RED\nX\",7\" PLATE\n3,c",
        // The first was never closed; what opens the second would close it.
        "2,\"RED,4\n3,\"LANTERN, \"\"WHITE\"\"\",5\n4,c\n",
    ] {
        let read = read(format!("1,a\n{stray}").as_bytes());
        assert_eq!(read, [good(1, &["1", "a"]), (2, Err(Fault::StrayQuote))], "{stray}");
    }
}

#[test]
fn a_quotation_mark_amid_a_field_is_part_of_it_where_no_line_break_depends_on_it() {
    assert_eq!(read(b"7\" PLATE,x\"\n2"), [good(1, &["7\" PLATE", "x\""]), good(2, &["2"])]);
}

#[test]
fn a_carriage_return_alone_spoils_its_own_record() {
    for line in ["a\rb", "a,\rb", "a,b\r\r", "\ra"] {
        assert_eq!(read(format!("{line}\nnext").as_bytes()), [(1, Err(Fault::CarriageReturn)), good(2, &["next"])]);
    }
}

#[test]
fn a_record_has_a_limit_and_the_next_is_read() {
    let long = [vec![b'x'; RECORD_BYTES_MAX + 1], b"\nnext".to_vec()].concat();
    assert_eq!(read(&long), [(1, Err(Fault::TooLong)), good(2, &["next"])]);
    // Lines inside quotes count towards it.
    let lines = format!("\"{}\"\nnext", "1,2,3\n".repeat(RECORD_BYTES_MAX / 6 + 1));
    assert_eq!(
        read(lines.as_bytes()),
        [(1, Err(Fault::TooLong)), good(u64::try_from(RECORD_BYTES_MAX / 6).unwrap() + 3, &["next"])]
    );
    let fits = "x".repeat(RECORD_BYTES_MAX);
    assert_eq!(read(fits.as_bytes()), [good(1, &[&fits])]);
}

#[test]
fn an_endless_record_needs_no_more_memory_than_its_limit() {
    for begin in ["\"", "\"x\"y", ""] {
        let mut records = Records::new(BufReader::new(begin.as_bytes()));
        let mut reader = super::Reader::new(1);
        for byte in begin.bytes().chain(std::iter::repeat_n(b'x', 3 * RECORD_BYTES_MAX)) {
            assert!(!reader.takes(byte));
            let kept: usize = reader.fields.iter().map(Vec::capacity).sum::<usize>() + reader.field.capacity();
            assert!(kept <= 2 * RECORD_BYTES_MAX);
        }
        assert!(records.next().is_ok());
    }
}

#[test]
fn a_byte_order_mark_may_stand_before_quotes() {
    assert_eq!(read("\u{feff}\"a,b\",c\nd".as_bytes()), [good(1, &["a,b", "c"]), good(2, &["d"])]);
    assert_eq!(read("\u{feff}a,b".as_bytes()), [good(1, &["\u{feff}a", "b"])]);
}

/// The csv crate reads the same records from what follows RFC 4180, but passes over empty lines.
#[test]
fn what_follows_rfc_4180_is_read_as_others_read_it() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut chance = StdRng::seed_from_u64(5);
    for _ in 0..2_000 {
        let mut text = String::new();
        for _ in 0..chance.random_range(1..6) {
            for at in 0..chance.random_range(1..4) {
                let pieces = ["a", "", ",", "\n", "\r\n", "\"\"", "1,2\n3,4"];
                let inside: String =
                    (0..chance.random_range(0..4)).map(|_| pieces[chance.random_range(0..pieces.len())]).collect();
                text.push_str(if at > 0 { "," } else { "" });
                text.push_str(&if chance.random() { format!("\"{inside}\"") } else { "plain".to_owned() });
            }
            text.push_str(if chance.random() { "\n" } else { "\r\n" });
        }
        let mut others = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let others: Vec<Vec<String>> =
            others.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        let ours: Vec<Vec<String>> = read(text.as_bytes()).into_iter().map(|(_, fields)| fields.unwrap()).collect();
        assert_eq!(ours, others, "{text:?}");
    }
}
