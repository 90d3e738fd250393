//! Lines of a file of any kind: each is kept up to a limit, so that no file needs more memory than one line may have.

use std::io::{self, BufRead};

/// Longer lines are no rows.
pub(super) const LINE_BYTES_MAX: usize = 65_536;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line feed.
    Whole(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]; what it says is dropped.
    TooLong,
}

/// Reads the next line. `None`: there is none.
///
/// # Errors
/// The file cannot be read.
pub(super) fn next(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Some(Vec::new());
    let mut is_there = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            break;
        }
        is_there = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        line = line.filter(|line| line.len() + part.len() <= LINE_BYTES_MAX);
        if let Some(line) = &mut line {
            line.extend_from_slice(part);
        }
        let taken = end.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            break;
        }
    }
    Ok(is_there.then(|| line.map_or(Line::TooLong, Line::Whole)))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LINE_BYTES_MAX, Line, next};

    fn lines(input: &[u8]) -> Vec<Line> {
        // A small buffer, so that lines cross its end.
        let mut input = BufReader::with_capacity(7, input);
        std::iter::from_fn(|| next(&mut input).unwrap()).collect()
    }

    #[test]
    fn every_line_is_read_once() {
        let whole = |line: &str| Line::Whole(line.as_bytes().to_vec());
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"one\ntwo and more\n"), [whole("one"), whole("two and more")]);
        assert_eq!(lines(b"\n\nlast"), [whole(""), whole(""), whole("last")]);
    }

    #[test]
    fn an_endless_line_is_one_line_and_the_next_is_read() {
        let long = [vec![b'x'; LINE_BYTES_MAX + 1], b"\nnext".to_vec()].concat();
        assert_eq!(lines(&long), [Line::TooLong, Line::Whole(b"next".to_vec())]);
        let fits = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&fits), [Line::Whole(fits)]);
    }
}
