//! A stream of events as the gateway sends it: lines of `id`, `event` and `data`, an empty line behind each event.

/// The most bytes of an event.
const BYTES_MAX: usize = 16_777_216;

/// An event that was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Its position in the log.
    pub(crate) id: String,
    /// What is in it, as JSON. Nothing: it only says how far it is.
    pub(crate) data: String,
}

/// Makes events of bytes, however they come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
    /// What is known of the next one.
    next: Heard,
}

impl Events {
    /// What is whole with these bytes.
    ///
    /// # Errors
    /// An event is longer than any.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, String> {
        self.bytes.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            heard.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
        }
        if self.bytes.len() + self.next.data.len() > BYTES_MAX {
            return Err(format!("an event is longer than {BYTES_MAX} bytes"));
        }
        Ok(heard)
    }

    fn line(&mut self, line: &str) -> Option<Heard> {
        if line.is_empty() {
            let heard = std::mem::take(&mut self.next);
            // What has neither keeps a connection alive.
            return Some(heard).filter(|heard| !heard.id.is_empty() || !heard.data.is_empty());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.next.id),
            "data" if self.next.data.is_empty() => value.clone_into(&mut self.next.data),
            "data" => self.next.data.extend(["\n", value]),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Events, Heard};

    #[test]
    fn events_are_whole_however_their_bytes_come() {
        let text = "id: 5\n\nid: 7\nevent: OrderPlaced\nretry: 1000\ndata: {\"a\":1}\n\n: alive\n\nid:8\r\ndata: {\r\ndata: }\r\n\r\nid: 9\ndata";
        let heard = |id: &str, data: &str| Heard { id: id.to_owned(), data: data.to_owned() };
        let expected = vec![heard("5", ""), heard("7", "{\"a\":1}"), heard("8", "{\n}")];
        for size in [1, 2, 3, 7, 1_000] {
            let mut events = Events::default();
            let told: Vec<Heard> = text.as_bytes().chunks(size).flat_map(|part| events.take(part).unwrap()).collect();
            assert_eq!(told, expected, "{size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut events = Events::default();
        let part = vec![b'x'; BYTES_MAX / 2];
        assert!(events.take(&part).is_ok() && events.take(&part).is_ok());
        assert!(events.take(&part).unwrap_err().contains("longer than"));
    }
}
