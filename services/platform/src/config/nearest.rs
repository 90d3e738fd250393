//! Which name somebody may have meant.

/// The name that takes the fewest letters added, left out or changed to become this one. `None`: none is near.
pub(super) fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = written.chars().count();
    // Farther, half of it is something else. Each letter that one is longer is one that is added: what is written may be very long.
    let is_near = |distance: usize| distance * 2 <= letters;
    let near = names.into_iter().filter(|name| is_near(name.chars().count().abs_diff(letters)));
    let near = near.map(|name| (distance(written, name), name)).min()?;
    is_near(near.0).then_some(near.1)
}

/// The distance of Levenshtein.
fn distance(one: &str, other: &str) -> usize {
    let mut before: Vec<usize> = (0..=other.chars().count()).collect();
    for (row, letter) in one.chars().enumerate() {
        let mut last = row + 1;
        let mut now = vec![last];
        for (pair, wanted) in before.windows(2).zip(other.chars()) {
            let [diagonal, above] = pair else { continue };
            let changed = diagonal + usize::from(letter != wanted);
            last = changed.min(above + 1).min(last + 1);
            now.push(last);
        }
        before = now;
    }
    before.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn letters_that_are_added_left_out_or_changed_are_counted() {
        for (one, other, letters) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_nothing_that_is_far() {
        let names = ["process.drain_ms", "process.threads", "relay.tick_ms"];
        assert_eq!(nearest("proces.drain_ms", names), Some("process.drain_ms"));
        assert_eq!(nearest("relay.tik", names), Some("relay.tick_ms"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"relay.tick_ms".repeat(1_000), names), None);
    }
}
