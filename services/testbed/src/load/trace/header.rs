//! The header of a trace: the columns in their order, or what is wrong with it. Pure.

use super::{
    records::{BYTE_ORDER_MARK, Record},
    refusal::told,
    row::COLUMNS,
};

/// Separators that other programs write.
const OTHER_SEPARATORS: [(u8, &str); 3] = [(b';', "\";\""), (b'\t', "tabs"), (b'|', "\"|\"")];

/// Checks the first record.
///
/// # Errors
/// It does not name the columns; says what it is instead.
pub(super) fn check(first: Option<&Record>) -> Result<(), String> {
    let problem = match first {
        None => Some("the file is empty".to_owned()),
        Some(Record { fields: Err(fault), .. }) => Some(fault.to_string()),
        Some(Record { lines, .. }) if *lines > 1 => Some("it has line breaks inside quotes".to_owned()),
        Some(Record { fields: Ok(fields), .. }) => problem(fields),
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(format!("its first line must be {}: {problem}", COLUMNS.join(","))),
    }
}

fn problem(fields: &[Vec<u8>]) -> Option<String> {
    let without_mark = |field: &Vec<u8>| field.strip_prefix(BYTE_ORDER_MARK).unwrap_or(field).trim_ascii().to_vec();
    let names: Vec<Vec<u8>> = fields.iter().map(without_mark).collect();
    if let [only] = names.as_slice() {
        if only.starts_with(b"\xff\xfe") || only.starts_with(b"\xfe\xff") {
            return Some("the file is in UTF-16; save it as UTF-8".to_owned());
        }
        let other = OTHER_SEPARATORS.iter().find(|(separator, _)| only.contains(separator));
        if let Some((_, name)) = other {
            return Some(format!("its columns are separated by {name}; save the file with commas between them"));
        }
    }
    let mut problems = Vec::new();
    for at in 0..names.len().max(COLUMNS.len()).min(COLUMNS.len() + 1) {
        let number = at + 1;
        match (names.get(at), COLUMNS.get(at)) {
            (Some(name), Some(column)) if name.eq_ignore_ascii_case(column.as_bytes()) => {}
            (Some(name), Some(column)) => {
                problems.push(format!("column {number} is {} where {column} was expected", told(name)));
            }
            (None, Some(column)) => problems.push(format!("column {number}, {column}, is missing")),
            (name, None) => {
                problems.push(format!("column {number}, {}, is one too many", told(name.map_or(b"", Vec::as_slice))))
            }
        }
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::{super::records::Records, COLUMNS, check};

    fn checked(input: &[u8]) -> Result<(), String> {
        check(Records::new(input).next().unwrap().as_ref())
    }

    fn problem(input: &[u8]) -> String {
        let problem = checked(input).unwrap_err();
        problem.strip_prefix(&format!("its first line must be {}: ", COLUMNS.join(","))).unwrap().to_owned()
    }

    #[test]
    fn knows_the_header() {
        let header = COLUMNS.join(",");
        assert_eq!(checked(format!("{header}\r\n").as_bytes()), Ok(()));
        assert_eq!(checked(format!("\u{feff}{}", header.to_uppercase()).as_bytes()), Ok(()));
        assert_eq!(checked(format!("\u{feff}\"{}\"", COLUMNS.join("\", \"").replace(", ", ",")).as_bytes()), Ok(()));
    }

    #[test]
    fn another_separator_is_named() {
        assert!(problem(COLUMNS.join(";").as_bytes()).contains("separated by \";\"; save the file with commas"));
        assert!(problem(COLUMNS.join("\t").as_bytes()).contains("separated by tabs"));
    }

    #[test]
    fn a_column_that_is_elsewhere_is_named_with_the_one_that_was_expected() {
        let other = "invoice_no,stock_code,description,invoice_date,quantity,unit_price,customer_id,country";
        assert_eq!(
            problem(other.as_bytes()),
            "column 4 is \"invoice_date\" where quantity was expected; column 5 is \"quantity\" where invoice_date was expected"
        );
        assert!(
            problem(b"InvoiceNo,StockCode,Description,Quantity")
                .starts_with("column 1 is \"InvoiceNo\" where invoice_no")
        );
        assert!(problem(COLUMNS[..7].join(",").as_bytes()).ends_with("column 8, country, is missing"));
        assert!(problem(format!("{},a,b", COLUMNS.join(",")).as_bytes()).ends_with("column 9, \"a\", is one too many"));
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        assert_eq!(problem(b""), "the file is empty");
        assert!(problem(b"\xff\xfei\0n\0v\0").contains("UTF-16"));
        assert!(problem(format!("{}\r1,2\r", COLUMNS.join(",")).as_bytes()).contains("carriage return"));
        assert!(
            problem(format!("{}\n\"", COLUMNS.join(",").replace("country", "\"country\n\"")).as_bytes())
                .contains("line breaks")
        );
        assert!(problem(&[b'x'; 100_000]).contains("too long"));
        assert!(problem(b"\"invoice_no").contains("never closes"));
    }
}
