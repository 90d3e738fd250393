//! Private Postgres and nats-server instances for `holdfast up`, demos, benchmarks and tests: made, killed, revived, removed.
//!
//! A server lives as long as the value that stands for it. Dropping the value ends the server; so does the death of this
//! process by any signal, wherever `setpriv` can tie the one to the other (Linux with util-linux 2.33 or newer).

mod binaries;
mod launch;
mod nats;
mod place;
mod postgres;
mod process;

pub(crate) use launch::last_lines;
pub use launch::wait_until;
pub use nats::{Membership, NatsServer};
pub use place::{free_port, scratch_dir};
pub use postgres::{Postgres, SUPERUSER};
pub use process::Process;
pub use rustix::process::Signal;
