//! The event store: its events and how they are appended and read, which log it is, and what to do once it has gone back.

pub mod acts;
pub mod append;
pub mod archive;
pub mod divergence;
pub mod event_store;
pub(crate) mod gap;
pub mod growth;
pub mod identity;
pub mod lineage;
pub(crate) mod partitions;
pub(crate) mod positions;
pub mod rebuild;
pub mod recovery;
