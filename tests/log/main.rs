//! The log on a real Postgres: nothing can change it, and a reader that follows positions loses nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot reach its own database fails")]

mod append_only;
mod gaps;
