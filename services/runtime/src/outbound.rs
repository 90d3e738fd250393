//! Bringing committed events to the broker: in batches, with reports to the relay; and who is told of what does not get there.

pub(crate) mod batch_publish;
pub mod notices;
pub(crate) mod publish;
pub(crate) mod refusals;
