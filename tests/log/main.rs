//! The log on a real Postgres: nothing can change it, a reader that follows positions loses nothing, and no row is
//! saved over another.

#![expect(clippy::unwrap_used, reason = "a test that cannot reach its own database fails")]

mod append_only;
mod columns;
mod gaps;
mod partitions;
mod rows;
