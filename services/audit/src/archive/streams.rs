//! Where in a file of events those of a stream are: beside it, sixteen bytes an event in order, the first eight of the SHA-256 of the
//! stream's name and where the line begins. So whoever looks for a stream reads some bytes of each file, and not the files.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::block::read_line;
use crate::replay::leading;

/// Bytes of one event.
const SIZE: u64 = 16;

/// The name of the file that stands beside this one.
pub(super) fn name(events: &str) -> String {
    format!("{}.streams", events.strip_suffix(".jsonl").unwrap_or(events))
}

/// Writes the file that stands beside a file of events.
pub(super) fn write(events: &Path, beside: &Path) -> Result<()> {
    let failed = || format!("reading {}", events.display());
    let mut file = BufReader::new(File::open(events).with_context(failed)?);
    let (mut places, mut line, mut offset) = (Vec::new(), String::new(), 0_u64);
    loop {
        line.clear();
        let read = file.read_line(&mut line).with_context(failed)?;
        if read == 0 {
            break;
        }
        places.push((leading(&read_line(&line).with_context(failed)?.stream), offset));
        offset += u64::try_from(read).unwrap_or(0);
    }
    places.sort_unstable();
    let failed = || format!("writing {}", beside.display());
    let mut out = BufWriter::new(File::create_new(beside).with_context(failed)?);
    for (hash, offset) in places {
        out.write_all(&hash.to_be_bytes()).and_then(|()| out.write_all(&offset.to_be_bytes())).with_context(failed)?;
    }
    out.flush().with_context(failed)
}

/// Where the lines begin that may be of these streams, in order.
pub(super) fn find(beside: &Path, streams: &[String]) -> Result<BTreeSet<u64>> {
    let failed = || format!("reading {}", beside.display());
    let mut file = File::open(beside).with_context(failed)?;
    let count = file.metadata().with_context(failed)?.len() / SIZE;
    let mut at = |place: u64| -> Result<(u64, u64)> {
        let (mut hash, mut offset) = ([0; 8], [0; 8]);
        file.seek(SeekFrom::Start(place * SIZE)).with_context(failed)?;
        file.read_exact(&mut hash).and_then(|()| file.read_exact(&mut offset)).with_context(failed)?;
        Ok((u64::from_be_bytes(hash), u64::from_be_bytes(offset)))
    };
    let mut found = BTreeSet::new();
    for stream in streams {
        let wanted = leading(stream);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if at(middle)?.0 < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < count {
            let (hash, offset) = at(low)?;
            if hash != wanted {
                break;
            }
            found.insert(offset);
            low += 1;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::{find, name, write};

    #[test]
    fn the_lines_of_a_stream_are_found_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (mut text, mut begins) = (String::new(), Vec::new());
        for position in 1..=200 {
            begins.push(u64::try_from(text.len()).unwrap());
            let line = serde_json::json!({
                "position": position, "stream": format!("order-{}", position % 50), "version": 1, "event_id": Uuid::nil(),
                "service": "orders", "type": "x", "correlation_id": Uuid::nil(), "causation_id": Uuid::nil(),
                "traceparent": null, "recorded_at": "2026-01-01T00:00:00Z", "event": {}, "data": "",
            });
            text.push_str(&format!("{line}\n"));
        }
        let events = dir.path().join("events-1.jsonl");
        fs::write(&events, text).unwrap();
        let beside = dir.path().join(name("events-1.jsonl"));
        write(&events, &beside).unwrap();
        assert_eq!(fs::metadata(&beside).unwrap().len(), 16 * 200);
        for stream in [0_usize, 1, 17, 49] {
            let found: Vec<u64> = find(&beside, &[format!("order-{stream}")]).unwrap().into_iter().collect();
            let begins = begins.iter().enumerate().filter(|(index, _)| (index + 1) % 50 == stream).map(|(_, at)| *at);
            assert_eq!(found, begins.collect::<Vec<_>>());
        }
        assert_eq!(find(&beside, &["order-50".to_owned(), String::new()]).unwrap().len(), 0);
        assert_eq!(find(&beside, &["order-3".to_owned(), "order-4".to_owned()]).unwrap().len(), 8);
    }
}
