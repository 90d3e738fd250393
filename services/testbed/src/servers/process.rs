//! One child process, which can be signalled without ever hitting a stranger and does not outlive this process.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context, Result, bail};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::wait_until;

/// How long a dropped process may take to end before it is killed. Postgres itself kills stubborn backends after 5 s.
const LAST_WORDS: Duration = Duration::from_secs(7);

/// A running (or ended) child process.
///
/// Dropping it sends the signal it was spawned with, waits, and kills it if that does not help.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    ending: Signal,
    exit: Arc<Exit>,
}

impl Process {
    /// A command for `program` that [`Process::spawn`] can tie to the life of this process; add arguments as usual.
    ///
    /// When this process dies, however it dies, the kernel sends `ending` to the child. The child is in a process group of
    /// its own, so that Ctrl-C in a terminal reaches this process alone, which can then end things in order.
    pub fn command(program: impl AsRef<OsStr>, ending: Signal) -> Command {
        let mut command = match signal_word(ending).filter(|_| setpriv_works()) {
            Some(word) => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", word, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts `command`. `name` is for messages; `ending` is what dropping the process sends to it.
    ///
    /// The child's parent, as the kernel counts, is the thread that started it, and a thread of an async runtime may end
    /// while the runtime lives on. So each child has a thread of its own, which starts it and waits for its end.
    pub fn spawn(name: &str, mut command: Command, ending: Signal) -> Result<Process> {
        let exit = Arc::new(Exit::default());
        let seen = Arc::clone(&exit);
        let (tell, told) = mpsc::sync_channel(1);
        let program = command.get_program().to_owned();
        let guard = thread::Builder::new().name(format!("guard-{name}"));
        guard
            .spawn(move || match command.spawn() {
                Ok(child) => {
                    let pid = Pid::from_child(&child);
                    if tell.send(Ok(pid)).is_ok() {
                        seen.follow(pid, child);
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            })
            .with_context(|| format!("no thread could be started to guard {name}"))?;
        let pid = told.recv()?.with_context(|| format!("{name} could not be started from {}", program.display()))?;
        Ok(Process { name: name.to_owned(), pid, ending, exit })
    }

    /// The process id. After the end it may belong to another process: send signals through [`Process::signal`].
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.status()
    }

    /// Sends `signal`; does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // An ended child keeps its pid until it is reaped, and it is reaped under this lock (see `Exit::follow`).
        let status = self.exit.status();
        if status.is_none() { self.send(self.pid, signal) } else { Ok(()) }
    }

    /// SIGKILL to the process and all its children at once, as when a machine dies.
    pub fn kill_with_children(&self) -> Result<()> {
        self.signal_with_children(Signal::KILL)
    }

    /// Sends `signal` to the process and all its children; does nothing if the process has ended.
    pub fn signal_with_children(&self, signal: Signal) -> Result<()> {
        let status = self.exit.status();
        if status.is_some() {
            return Ok(());
        }
        // Stopped first, so that it has no child that is not on the list.
        self.send(self.pid, Signal::STOP)?;
        let children = children_of(self.pid);
        self.send(self.pid, signal)?;
        children.into_iter().try_for_each(|child| self.send(child, signal))
    }

    fn send(&self, pid: Pid, signal: Signal) -> Result<()> {
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("sending {signal:?} to {} (pid {pid})", self.name)),
        }
    }

    /// Waits until it has ended, at most `limit`.
    pub async fn ended(&self, limit: Duration) -> Result<ExitStatus> {
        match wait_until(limit, || async { Ok(self.exited()) }).await? {
            Some(status) => Ok(status),
            None => bail!("{} (pid {}) was still running after {} s", self.name, self.pid(), limit.as_secs()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process would sleep through any signal but SIGCONT and SIGKILL.
        let asked = self.signal(self.ending).and_then(|()| self.signal(Signal::CONT));
        if asked.is_ok() && self.exit.wait_blocking(LAST_WORDS) {
            return;
        }
        if self.kill_with_children().is_ok() {
            self.exit.wait_blocking(LAST_WORDS);
        }
    }
}

/// How a child ended, told by the thread that waits for it.
#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Exit {
    fn status(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the child's end without reaping it, then reaps it under the lock that every signal is sent under: while
    /// a signal is on its way the pid cannot pass to another process.
    fn follow(&self, pid: Pid, mut child: Child) {
        let unreaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // This fails only if the child has been reaped elsewhere, and then it has ended too.
        retry_on_intr(|| waitid(WaitId::Pid(pid), unreaped)).ok();
        let mut status = self.status();
        *status = Some(child.wait().unwrap_or_default());
        self.changed.notify_all();
    }

    /// True if the end came within `limit`.
    fn wait_blocking(&self, limit: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.status(), limit, |status| status.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}

/// Is there a `setpriv` that knows `--pdeathsig`? (The one in busybox does not.)
fn setpriv_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let mut trial = Command::new("setpriv");
        trial.args(["--pdeathsig", "TERM", "--", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    })
}

/// The signal's name as `setpriv` spells it, for those that make sense as a last message.
fn signal_word(signal: Signal) -> Option<&'static str> {
    [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::QUIT, "QUIT"), (Signal::KILL, "KILL")]
        .into_iter()
        .find_map(|(known, word)| (known == signal).then_some(word))
}

/// The children of `parent`, from /proc; none where there is no /proc.
fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let child = |entry: io::Result<fs::DirEntry>| {
        let pid = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?)?;
        let [_, ppid] = state_and_parent(pid)?;
        (ppid.parse() == Ok(parent.as_raw_nonzero().get())).then_some(pid)
    };
    processes.filter_map(child).collect()
}

/// A process's state, a letter, and the id of its parent, from /proc; none if there is no such process.
fn state_and_parent(pid: Pid) -> Option<[String; 2]> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // "pid (name) state ppid ...", and the name may hold spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some([fields.next()?, fields.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Process {
        /// The ids of the process and its children.
        pub(crate) fn with_children(&self) -> Vec<u32> {
            let children = children_of(self.pid);
            [self.pid].into_iter().chain(children).map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect()
        }
    }

    fn shell(script: &str, ending: Signal) -> Process {
        let mut command = Process::command("sh", ending);
        command.args(["-c", script]);
        Process::spawn("shell", command, ending).unwrap()
    }

    #[tokio::test]
    async fn tells_how_a_process_ended_and_signals_it_no_more() {
        let shell = shell("exit 3", Signal::KILL);
        assert_eq!(shell.ended(Duration::from_secs(10)).await.unwrap().code(), Some(3));
        shell.signal(Signal::KILL).unwrap();
        assert_eq!(shell.exited().unwrap().code(), Some(3));
    }

    #[tokio::test]
    async fn says_so_when_a_process_does_not_end() {
        let shell = shell("exec sleep 60", Signal::KILL);
        let error = shell.ended(Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(error.contains("still running"), "{error}");
    }

    #[tokio::test]
    async fn ends_even_a_stopped_process_when_dropped() {
        let shell = shell("exec sleep 60", Signal::TERM);
        let pid = shell.pid();
        shell.signal(Signal::STOP).unwrap();
        drop(shell);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn names_the_program_that_is_missing() {
        // Not through `setpriv`, which would start well and find out later.
        let error = Process::spawn("worker", Command::new("/no/such/program"), Signal::TERM).unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/program"), "{error:#}");
    }

    /// A process that starts a shell, leaves its pid in a file and is then killed: the shell must die with it.
    #[tokio::test]
    async fn dies_with_the_process_that_started_it() {
        if let Some(file) = std::env::var_os("HOLDFAST_TEST_PID_FILE") {
            let shell = shell("exec sleep 60", Signal::KILL);
            fs::write(file, shell.pid().to_string()).unwrap();
            shell.ended(Duration::from_secs(60)).await.unwrap();
        } else if setpriv_works() {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("pid");
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "servers::process::tests::dies_with_the_process_that_started_it"]);
            again.env("HOLDFAST_TEST_PID_FILE", &file).stdout(Stdio::null()).stdin(Stdio::null());
            let parent = Process::spawn("parent", again, Signal::KILL).unwrap();
            let written = || async { Ok(fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty())) };
            let shell = wait_until(Duration::from_secs(30), written).await.unwrap().unwrap();
            let shell = Pid::from_raw(shell.parse().unwrap()).unwrap();
            // Where nobody reaps orphans, a dead one stays as a zombie. (An empty command line would not mean death: it
            // is empty for a moment whenever a program takes the place of another, here twice.)
            let alive = || state_and_parent(shell).is_some_and(|[state, _]| state != "Z" && state != "X");
            // A parent that dies before `setpriv` has done its work leaves the child alone.
            let name = format!("/proc/{}/comm", shell.as_raw_nonzero());
            let sleeps = || async { Ok(fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n").then_some(())) };
            wait_until(Duration::from_secs(30), sleeps).await.unwrap().unwrap();
            assert!(alive());
            parent.signal(Signal::KILL).unwrap();
            let gone = wait_until(Duration::from_secs(10), || async { Ok((!alive()).then_some(())) }).await.unwrap();
            assert!(gone.is_some(), "the shell {shell:?} outlived its parent");
        }
    }
}
