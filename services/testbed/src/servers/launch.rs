//! Starts a server and waits until it answers, or says why it does not.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::time::Instant;

use super::Process;
use super::place::free_port;

const LOOK_EVERY: Duration = Duration::from_millis(20);
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOG_LINES_SHOWN: usize = 15;

/// Looks again and again, at least once, until there is something or `limit` has passed.
#[expect(clippy::disallowed_methods, reason = "the one place that waits for other processes, which cannot wake it")]
pub async fn wait_until<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let seen = look().await?;
        if seen.is_some() || Instant::now() >= deadline {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is started, for messages and for its end.
pub(super) struct Launch<'a> {
    /// The server's name.
    pub(super) name: &'a str,
    /// Where its output goes, at the end of what is there.
    pub(super) log: &'a Path,
    /// What ends it when nobody is left to end it properly.
    pub(super) ending: Signal,
}

impl Launch<'_> {
    /// Starts the command that `command` makes for a port, until `ready` says yes to that port and the process.
    ///
    /// Without `port` any free port will do, and another is tried if somebody else takes it first. With `port` (a restart,
    /// whose clients know only this port) it must be that one, and it is tried until it is free.
    pub(super) async fn run<R>(
        &self,
        port: Option<u16>,
        command: impl Fn(u16) -> Command,
        ready: impl Fn(u16, u32) -> R,
    ) -> Result<(Process, u16)>
    where
        R: Future<Output = Result<bool>>,
    {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let chosen = match port {
                Some(port) => port,
                None => free_port()?,
            };
            let begin = fs::metadata(self.log).map_or(0, |about| about.len());
            let process = self.spawn(command(chosen))?;
            let seen = wait_until(deadline.saturating_duration_since(Instant::now()), || async {
                // In this order: a server that ended is not ready, whoever else answers at its port.
                let ready = ready(chosen, process.pid()).await?;
                Ok(if process.exited().is_some() { Some(false) } else { ready.then_some(true) })
            });
            let outcome = match seen.await? {
                Some(true) => return Ok((process, chosen)),
                Some(false) => process.exited().map_or_else(String::new, |status| status.to_string()),
                None => format!("does not answer after {} s", READY_WITHIN.as_secs()),
            };
            drop(process);
            let said = last_lines(self.log, begin, LOG_LINES_SHOWN);
            if !passing_trouble(&said) || Instant::now() >= deadline {
                bail!("{} did not start: {outcome}. The end of its log {}:\n{said}", self.name, self.log.display());
            }
        }
    }

    fn spawn(&self, mut command: Command) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.log);
        let log = log.with_context(|| format!("opening the log {}", self.log.display()))?;
        command.stdout(log.try_clone()?).stderr(Stdio::from(log));
        Process::spawn(self.name, command, self.ending)
    }
}

/// The last lines, at most so many, that a log has from byte `begin` on.
pub(crate) fn last_lines(log: &Path, begin: u64, most: usize) -> String {
    let log = fs::read(log).unwrap_or_default();
    let news = log.get(usize::try_from(begin).unwrap_or(0)..).unwrap_or_default();
    let news = String::from_utf8_lossy(news);
    let lines: Vec<&str> = news.lines().rev().take(most).collect();
    lines.into_iter().rev().map(|line| format!("  {line}\n")).collect()
}

/// Will it go away by itself? The port may be somebody's for a moment, and backends of a killed Postgres take a moment to
/// notice that it is gone, during which a new one refuses to start.
fn passing_trouble(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("address already in use") || said.contains("pre-existing shared memory block")
}
