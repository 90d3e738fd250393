//! How much memory this process holds. What an input took shows right after it: the allocator gives nothing back at once.

use std::{fs::File, os::unix::fs::FileExt};

const PAGE_BYTES: u64 = 4_096;

/// Looks how much memory there is in use.
#[derive(Debug)]
pub(crate) struct Gauge {
    statm: File,
}

impl Gauge {
    pub(crate) fn new() -> Self {
        Self { statm: File::open("/proc/self/statm").unwrap() }
    }

    /// Bytes that are resident now.
    pub(crate) fn bytes(&self) -> u64 {
        let mut text = [0; 96];
        let read = self.statm.read_at(&mut text, 0).unwrap();
        let pages = std::str::from_utf8(&text[..read]).unwrap().split(' ').nth(1).unwrap();
        pages.parse::<u64>().unwrap() * PAGE_BYTES
    }
}
