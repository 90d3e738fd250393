//! One answer from those of all shards: what one pass says, row by row and movement by movement, with as much in memory as there are shards.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use domain::{GlobalPosition, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Answer, Asked, At, Cut, Database, Evidence, Kind, Movement, Movements, PROGRAM, Question, Rows, Shard, Skew,
};
use crate::seal::{self, Seal};

/// What a file of an answer begins with.
const EVIDENCE: &str = "{\"evidence\":";

/// Files, at most: each is open while they are merged.
const MAX: usize = 512;

/// The answer of one shard.
struct Part {
    path: PathBuf,
    said: Said,
    shard: Shard,
}

/// Its evidence.
#[derive(Debug, Deserialize)]
struct Said {
    asked: SaidAsked,
    program: String,
    database: Database,
    cut: Cut,
    skew: Skew,
    events_read: u64,
    events_folded: u64,
    shard: Option<Shard>,
    rows: u64,
}

/// What it was asked.
#[derive(Debug, Deserialize)]
struct SaidAsked {
    kind: Kind,
    position: Option<GlobalPosition>,
    time: Option<Timestamp>,
    movements: bool,
}

#[derive(Deserialize)]
struct Head {
    evidence: Said,
}

/// Makes one answer of those of all shards, and says what question it answers. Of a directory, all files are meant that end in `.jsonl`.
///
/// # Errors
/// A file cannot be read, is not as it was printed, or is no answer of a shard; they are of different questions, logs, cuts or programs; a
/// shard is missing, or there twice. All name the file. Nothing is answered then.
pub fn merge<M: Movements>(files: &[PathBuf], mut movements: M) -> Result<(Question, Answer<M>)> {
    let mut parts = Vec::new();
    for path in files {
        for file in files_of(path).with_context(|| format!("reading {}", path.display()))? {
            ensure!(parts.len() < MAX, "there are more than {MAX} files: there may be that many shards");
            parts.push(Part::open(&file)?);
        }
    }
    parts.sort_by_key(|part| part.shard);
    are_all_of_one(&parts)?;
    let rows = parts.iter().map(|part| part.said.rows).sum();
    // A log grows on, and the last that has read it knows best where it ended.
    let last = parts.iter().max_by_key(|part| part.said.database.at).context("no file is named")?;
    let Said { asked, database, cut, skew, events_read, events_folded, .. } = &last.said;
    let at = asked.position.map(At::Position).or(asked.time.map(At::Time));
    let (keys, choice, shard, max_rate) = (Vec::new(), None, None, None);
    let question = Question { kind: asked.kind, at, keys, movements: asked.movements, choice, shard, max_rate };
    let evidence = Evidence {
        asked: Asked::of(&question),
        program: PROGRAM,
        database: database.clone(),
        cut: *cut,
        skew: *skew,
        events_read: *events_read,
        events_folded: *events_folded,
        chosen: None,
        shard: None,
        rows,
    };
    for movement in Merged::of(parts.iter().map(Part::movements).collect::<Result<_>>()?)? {
        movements.take(movement?)?;
    }
    let rows = Box::new(MergedRows { parts, rows });
    Ok((question, Answer { evidence, rows, unknown: Vec::new(), movements }))
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    ensure!(!files.is_empty(), "it has no file that ends in .jsonl");
    files.sort();
    Ok(files)
}

/// Whether these are the shards of one answer: all of them, and each once.
fn are_all_of_one(parts: &[Part]) -> Result<()> {
    let first = parts.first().context("no file is named")?;
    let mut by_index: BTreeMap<u32, &Part> = BTreeMap::new();
    for part in parts {
        for ((what, this), (_, other)) in part.is_of().into_iter().zip(first.is_of()) {
            let (path, of) = (part.path.display(), first.path.display());
            ensure!(this == other, "{path} is of another {what} than {of}: {this}, and not {other}");
        }
        if let Some(other) = by_index.insert(part.shard.index, part) {
            bail!("shard {} is there twice: {} and {}", part.shard, other.path.display(), part.path.display());
        }
    }
    let of = first.shard.of;
    let mut missing = (0..of.get()).filter(|index| !by_index.contains_key(index));
    if let Some(index) = missing.next() {
        let more = match missing.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        bail!("shard {} is missing{more}: name the files of all {of}", Shard { index, of });
    }
    Ok(())
}

impl Part {
    /// Opens an answer, and looks whether it is as it was printed.
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let failed = || format!("reading {shown}");
        let mut file = BufReader::new(File::open(path).with_context(failed)?);
        let mut begin = [0; EVIDENCE.len()];
        let is_answer = file.read_exact(&mut begin).is_ok_and(|()| begin == EVIDENCE.as_bytes());
        ensure!(
            is_answer,
            "{shown} is no answer of a shard: make it with `holdfast replay KIND --shard I/N --out FILE`"
        );
        let mut line = EVIDENCE.to_owned();
        file.read_line(&mut line).with_context(failed)?;
        let (before, sha256, behind) = seal::member(&line).with_context(|| format!("{shown} has no hash of itself"))?;
        let (mut seal, sha256) = (Seal::default(), sha256.to_owned());
        seal.update(before);
        seal.update(behind);
        let head: Head = serde_json::from_str(&line).with_context(|| format!("{shown} is no answer of a replay"))?;
        let shard = head.evidence.shard.with_context(|| format!("{shown} is no answer of a shard, but of all rows"))?;
        line.clear();
        while file.read_line(&mut line).with_context(failed)? > 0 {
            seal.update(&line);
            line.clear();
        }
        ensure!(seal.hex() == sha256, "{shown} is not as it was printed: it was changed, or a part is missing");
        let program = &head.evidence.program;
        ensure!(
            program == PROGRAM,
            "{shown} is of {program}, and this is {PROGRAM}: another release may fold otherwise"
        );
        Ok(Self { path: path.to_owned(), said: head.evidence, shard })
    }

    /// All that must be the same of all parts.
    fn is_of(&self) -> [(&'static str, String); 7] {
        let Said { asked, database, cut, events_read, events_folded, .. } = &self.said;
        let Database { installation, epoch, .. } = database;
        let at = asked.position.map(|at| at.to_string()).or(asked.time.map(|at| at.to_string())).unwrap_or_default();
        let movements = if asked.movements { "with movements" } else { "without movements" };
        [
            ("kind", asked.kind.as_str().to_owned()),
            ("installation", format!("{installation}, epoch {epoch}")),
            ("cut", format!("position {}", cut.position)),
            ("moment", at),
            ("answer", movements.to_owned()),
            ("number of shards", self.shard.of.to_string()),
            ("log", format!("{events_read} events up to the cut, {events_folded} of them of its kind")),
        ]
    }

    /// What its lines of this name have, as JSON.
    fn lines(&self, name: &str) -> Result<impl Iterator<Item = Result<String>> + use<>> {
        let failed = format!("reading {}", self.path.display());
        let file = File::open(&self.path).with_context(|| failed.clone())?;
        let begin = format!("{{\"{name}\":");
        Ok(BufReader::new(file).lines().filter_map(move |line| match line {
            Ok(line) => Some(Ok(line.strip_prefix(&begin)?.strip_suffix('}')?.to_owned())),
            Err(error) => Some(Err(error).with_context(|| failed.clone())),
        }))
    }

    fn movements(&self) -> Result<impl Iterator<Item = Result<((GlobalPosition, String), Movement)>> + use<>> {
        Ok(self.lines("movement")?.map(|line| {
            let movement: Movement = serde_json::from_str(&line?).context("reading a movement")?;
            Ok(((movement.position, movement.key.clone()), movement))
        }))
    }

    fn rows(&self) -> Result<impl Iterator<Item = Result<(String, Map<String, Value>)>> + use<>> {
        let name = self.said.asked.kind.key_name();
        Ok(self.lines("row")?.map(move |line| {
            let row: Map<String, Value> = serde_json::from_str(&line?).context("reading a row")?;
            let key = row.get(name).and_then(Value::as_str).with_context(|| format!("a row has no {name}"))?;
            Ok((key.to_owned(), row))
        }))
    }
}

/// What several have in order, in order.
struct Merged<I, K, T> {
    of: Vec<I>,
    /// The next of each.
    next: BTreeMap<(K, usize), T>,
}

impl<I: Iterator<Item = Result<(K, T)>>, K: Ord, T> Merged<I, K, T> {
    fn of(of: Vec<I>) -> Result<Self> {
        let mut merged = Self { of, next: BTreeMap::new() };
        (0..merged.of.len()).try_for_each(|index| merged.advance(index))?;
        Ok(merged)
    }

    fn advance(&mut self, index: usize) -> Result<()> {
        if let Some(next) = self.of.get_mut(index).and_then(Iterator::next) {
            let (key, item) = next?;
            self.next.insert((key, index), item);
        }
        Ok(())
    }
}

impl<I: Iterator<Item = Result<(K, T)>>, K: Ord, T> Iterator for Merged<I, K, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let ((_, index), item) = self.next.pop_first()?;
        Some(self.advance(index).map(|()| item))
    }
}

/// The rows of all parts.
struct MergedRows {
    parts: Vec<Part>,
    rows: u64,
}

impl Rows for MergedRows {
    fn count(&self) -> u64 {
        self.rows
    }

    fn each(&self, take: &mut dyn FnMut(Map<String, Value>) -> Result<()>) -> Result<()> {
        Merged::of(self.parts.iter().map(Part::rows).collect::<Result<_>>()?)?.try_for_each(|row| take(row?))
    }
}

#[cfg(test)]
mod tests {
    use super::Merged;

    #[test]
    fn what_several_have_in_order_is_in_order_and_the_first_error_ends_it() {
        let of = |numbers: &[u32]| numbers.iter().map(|number| Ok((*number, *number))).collect::<Vec<_>>().into_iter();
        let merged = Merged::of(vec![of(&[1, 4, 5]), of(&[]), of(&[2, 3, 6, 7])]).unwrap();
        assert_eq!(merged.collect::<Result<Vec<u32>, _>>().unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        let broken = vec![Ok((1, 1)), Err(anyhow::anyhow!("cut off"))].into_iter();
        let told: Vec<Result<u32, _>> = Merged::of(vec![broken]).unwrap().collect();
        assert!(told.iter().all(Result::is_err) && told.len() == 1);
    }
}
