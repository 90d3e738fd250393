//! The engine: from inputs that are known to new ones, and from those that end in a new way on to further ones.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::Hasher,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    attempt::{attempt, outline},
    memory::Gauge,
    mutate::mutated,
    shrink::shrunk,
    targets::Target,
};

/// No input is longer.
pub(crate) const INPUT_BYTES_MAX: usize = 16_384;

/// What all inputs to go on from may have together.
const POOL_BYTES_MAX: usize = 8 << 20;

/// What any input may add to the memory of this process, and what all of them together may.
const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// A target that has failed in so many ways is left alone.
const FAILURES_MAX: usize = 8;

/// When it is enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// After this time.
    Over(Duration),
    /// After so many inputs.
    Inputs(u64),
}

/// An input that does harm.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) input: Vec<u8>,
}

/// What became of a target.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) target: &'static str,
    pub(crate) inputs: u64,
    pub(crate) lasted: Duration,
    /// In how many ways inputs ended.
    pub(crate) signatures: usize,
    pub(crate) failures: Vec<Failure>,
    /// Of all inputs, to tell whether others were the same.
    pub(crate) digest: u64,
}

/// Fuzzes a target.
pub(crate) fn fuzz(target: &Target, corpus: &[Vec<u8>], seed: u64, until: Until) -> Tally {
    let mut run = Run::new(target, until);
    let mut name = DefaultHasher::new();
    name.write(target.name.as_bytes());
    let mut rng = StdRng::seed_from_u64(seed ^ name.finish());
    for input in corpus.iter().cloned().chain((target.seeds)()) {
        run.take(input.clone());
        run.go_on_from(input);
    }
    while !run.is_over() {
        let from = run.choose(&mut rng);
        let other = run.choose(&mut rng);
        let input = mutated(&mut rng, target, &run.pool[from], &run.pool[other]);
        run.take(input);
    }
    run.tally()
}

struct Run<'a> {
    target: &'a Target,
    until: Until,
    begun: Instant,
    pool: Vec<Vec<u8>>,
    pool_bytes: usize,
    signatures: BTreeSet<String>,
    gauge: Gauge,
    memory_bytes: u64,
    inputs: u64,
    digest: DefaultHasher,
    failures: Vec<Failure>,
}

impl<'a> Run<'a> {
    fn new(target: &'a Target, until: Until) -> Self {
        let gauge = Gauge::new();
        Self {
            target,
            until,
            begun: Instant::now(),
            pool: Vec::new(),
            pool_bytes: 0,
            signatures: BTreeSet::new(),
            memory_bytes: gauge.bytes(),
            gauge,
            inputs: 0,
            digest: DefaultHasher::new(),
            failures: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        let is_enough = match self.until {
            Until::Over(time) => self.begun.elapsed() >= time,
            Until::Inputs(inputs) => self.inputs >= inputs,
        };
        // Where one input took long or took memory, the next ones do, too.
        let is_costly = self.failures.iter().any(|failure| failure.what.starts_with("it takes"));
        is_enough || is_costly || self.failures.len() >= FAILURES_MAX
    }

    /// The later ones got further.
    fn choose(&self, rng: &mut StdRng) -> usize {
        let last = self.pool.len();
        let first = if rng.random_bool(0.5) { last - last.div_ceil(4) } else { 0 };
        rng.random_range(first..last)
    }

    fn take(&mut self, input: Vec<u8>) {
        self.inputs += 1;
        self.digest.write(&input);
        let ended = attempt(self.target, &input);
        let bytes = self.gauge.bytes();
        if bytes > self.memory_bytes + MEMORY_BYTES_MAX {
            let what = format!("it takes memory: {} MiB", (bytes - self.memory_bytes) >> 20);
            // Not made shorter: a process that has the memory already takes no more.
            self.failures.push(Failure { what, input });
            self.memory_bytes = bytes;
            return;
        }
        match ended {
            Ok(signature) => {
                if self.signatures.insert(signature) {
                    self.go_on_from(input);
                }
            }
            Err(what) => self.fail(&what, &input),
        }
    }

    fn go_on_from(&mut self, input: Vec<u8>) {
        if self.pool_bytes + input.len() <= POOL_BYTES_MAX {
            self.pool_bytes += input.len();
            self.pool.push(input);
        }
    }

    fn fail(&mut self, what: &str, input: &[u8]) {
        let alike = outline(what);
        if self.failures.iter().any(|known| outline(&known.what) == alike) {
            return;
        }
        let input = shrunk(self.target, input, what);
        let what = attempt(self.target, &input).err().unwrap_or_else(|| what.to_owned());
        self.failures.push(Failure { what, input });
    }

    fn tally(self) -> Tally {
        Tally {
            target: self.target.name,
            inputs: self.inputs,
            lasted: self.begun.elapsed(),
            signatures: self.signatures.len(),
            failures: self.failures,
            digest: self.digest.finish(),
        }
    }
}
