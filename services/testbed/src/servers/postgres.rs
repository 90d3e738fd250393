//! A private Postgres cluster, made on first use, that commits as durably as a production one.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::binaries::find_postgres;
use super::launch::Launch;
use super::place::OtherUser;
use super::{Process, place, scratch_dir};

mod backup;
mod filled;

/// The cluster's superuser. Nobody needs a password: only 127.0.0.1 and a unix socket are listened on.
pub const SUPERUSER: &str = "holdfast";

const NAME: &str = "Postgres";
const STOPS_WITHIN: Duration = Duration::from_secs(60);
/// Linux allows 107 bytes for the path of a unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// A Postgres that belongs to this process; see [`super`] for how it ends.
///
/// When root runs this, Postgres runs as the user `postgres` or `nobody`, and `dir` comes to belong to that user.
#[derive(Debug)]
pub struct Postgres {
    // The process is declared, and so dropped, before the directory that its socket is in.
    process: Option<Process>,
    sockets: TempDir,
    programs: PathBuf,
    dir: PathBuf,
    user: Option<OtherUser>,
    settings: Vec<String>,
    port: u16,
}

impl Postgres {
    /// Starts the cluster in `dir` at a free port of 127.0.0.1, after making it if it is not there, and waits until it
    /// accepts connections.
    ///
    /// Fails if no Postgres 15 to 18 can be found, if the cluster was made by another major version, or if it does not
    /// start; the error has the end of its log.
    pub async fn start(dir: &Path) -> Result<Postgres> {
        let user = OtherUser::needed()?;
        let (programs, major) = find_postgres(user).await?;
        let dir = place::settle(dir, user)?;
        let mut server =
            Postgres { process: None, sockets: socket_dir(user)?, programs, dir, user, settings: Vec::new(), port: 0 };
        server.make_cluster(major).await?;
        server.settings = server.choose_settings().await?;
        server.launch(None).await?;
        Ok(server)
    }

    /// The URL by which `role` reaches `database`, over TCP.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Where to migrate a database, with a log whose partitions have so many positions.
    pub fn url_to_migrate(&self, database: &str, partition_positions: Option<u32>) -> String {
        let url = self.url(SUPERUSER, database);
        match partition_positions {
            Some(positions) => format!("{url}&options[holdfast.partition_positions]={positions}"),
            None => url,
        }
    }

    /// The TCP port on 127.0.0.1, the same after [`Postgres::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its unix socket, as `psql --host` takes it.
    pub fn socket_dir(&self) -> &Path {
        self.sockets.path()
    }

    /// The postmaster's process id, or `None` if it is not running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|process| process.exited().is_none()).map(Process::pid)
    }

    /// Where the cluster and its log are: the directory it was started in, or the one that stands in for it because the
    /// user that Postgres runs as cannot reach that.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it as an operator would (a fast shutdown: open transactions are rolled back). Does nothing if it is not running.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::INT)?;
        process.ended(STOPS_WITHIN).await?;
        Ok(())
    }

    /// Ends it and its backends with SIGKILL, as when the machine dies. Does nothing if it is not running.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.kill_with_children()?;
        process.ended(STOPS_WITHIN).await?;
        Ok(())
    }

    /// SIGSTOP to it and its backends: they stand still, as on a machine that is paused. Does nothing if it is not running.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal_with_children(Signal::STOP))
    }

    /// SIGCONT to it and its backends: they go on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal_with_children(Signal::CONT))
    }

    /// Starts it again after its end, whatever that was, at the same port and with what was committed.
    pub async fn start_again(&mut self) -> Result<()> {
        if let Some(pid) = self.pid() {
            bail!("{NAME} is running already, as process {pid}");
        }
        self.launch(Some(self.port)).await
    }

    fn cluster(&self) -> PathBuf {
        self.dir.join("cluster")
    }

    /// Makes the cluster under another name first, so that an interrupted attempt is never taken for a cluster.
    async fn make_cluster(&self, major: u32) -> Result<()> {
        let cluster = self.cluster();
        if let Ok(made_by) = fs::read_to_string(cluster.join("PG_VERSION")) {
            if made_by.trim() != major.to_string() {
                bail!(
                    "the cluster in {} was made by Postgres {}, and {} has Postgres {major}; name a directory with the \
                     former in HOLDFAST_POSTGRES_BIN, or delete the cluster",
                    cluster.display(),
                    made_by.trim(),
                    self.programs.display()
                );
            }
            return Ok(());
        }
        let unfinished = self.dir.join("cluster.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).with_context(|| format!("deleting {}", unfinished.display()))?;
        }
        let mut initdb = self.program("initdb");
        initdb.arg("--pgdata").arg(&unfinished).args(["--username", SUPERUSER, "--auth", "trust", "--no-sync"]);
        initdb.args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"]);
        let made = output(initdb).await?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            bail!("initdb could not make a cluster in {} ({}):\n{said}", unfinished.display(), made.status);
        }
        fs::rename(&unfinished, &cluster).with_context(|| format!("naming the new cluster {}", cluster.display()))
    }

    async fn choose_settings(&self) -> Result<Vec<String>> {
        let compression = "wal_compression=lz4"; // not every build has it
        let mut trial = self.program("postgres");
        trial.arg("-D").arg(self.cluster()).args(["-C", "wal_compression", "-c", compression]);
        let compression = output(trial).await?.status.success().then_some(compression);
        let sockets = format!("unix_socket_directories={}", self.sockets.path().display());
        let fixed = [
            "listen_addresses=127.0.0.1",
            "fsync=on",
            "synchronous_commit=on",
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "max_connections=200",
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=%m [%p] %q%u@%d ",
        ];
        Ok(fixed.into_iter().chain(compression).chain([sockets.as_str()]).map(str::to_owned).collect())
    }

    async fn launch(&mut self, port: Option<u16>) -> Result<()> {
        // SIGQUIT ends Postgres at once, yet leaves no shared memory behind, of which a system has only so many blocks.
        let ending = Signal::QUIT;
        let log = self.dir.join("postgres.log");
        let cluster = self.cluster();
        let server = |port: u16| {
            let mut command = self.tame(Process::command(self.programs.join("postgres"), ending));
            command.arg("-D").arg(&cluster).arg("-p").arg(port.to_string());
            command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
            command
        };
        let status_file = cluster.join("postmaster.pid");
        let accepts = |port, pid| {
            let says_so = says_ready(&fs::read_to_string(&status_file).unwrap_or_default(), pid);
            async move { Ok(says_so && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()) }
        };
        let launch = Launch { name: NAME, log: &log, ending };
        let (process, port) = launch.run(port, server, accepts).await?;
        self.process = Some(process);
        self.port = port;
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        self.tame(Command::new(self.programs.join(name)))
    }

    /// As the right user, in a directory that user can be in, and deaf to what the environment tells Postgres clients.
    fn tame(&self, mut command: Command) -> Command {
        if let Some(user) = self.user {
            user.run(&mut command);
        }
        let told: Vec<OsString> = env::vars_os().map(|(name, _)| name).collect();
        for name in told.iter().filter(|name| name.as_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.dir);
        command
    }
}

/// A directory for the unix socket, with a path short enough for one.
fn socket_dir(user: Option<OtherUser>) -> Result<TempDir> {
    let dir = scratch_dir("hf-")?;
    if dir.path().join(".s.PGSQL.65535.lock").as_os_str().len() > SOCKET_PATH_MAX {
        bail!("{} is too long a path for a unix socket; set TMPDIR to a shorter one", dir.path().display());
    }
    if let Some(user) = user {
        user.own(dir.path())?;
    }
    Ok(dir)
}

async fn output(command: Command) -> Result<Output> {
    let program = command.get_program().to_owned();
    let mut command = tokio::process::Command::from(command);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.output().await.with_context(|| format!("{} could not be run", program.display()))
}

/// Does the text of `postmaster.pid` say that the postmaster `pid` (line 1) accepts connections (line 8)?
fn says_ready(status: &str, pid: u32) -> bool {
    let mut lines = status.lines();
    lines.next().is_some_and(|line| line.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sqlx::{Connection, PgConnection};

    use super::*;
    use crate::servers::wait_until;

    async fn server() -> (Postgres, TempDir) {
        let dir = scratch_dir("holdfast-postgres-").unwrap();
        (Postgres::start(dir.path()).await.unwrap(), dir)
    }

    async fn connect(server: &Postgres) -> PgConnection {
        PgConnection::connect(&server.url(SUPERUSER, "postgres")).await.unwrap()
    }

    async fn write(server: &Postgres, note: &str) {
        let mut connection = connect(server).await;
        sqlx::query("create table if not exists notes (note text)").execute(&mut connection).await.unwrap();
        sqlx::query("insert into notes values ($1)").bind(note).execute(&mut connection).await.unwrap();
    }

    async fn read(server: &Postgres) -> Vec<String> {
        sqlx::query_scalar("select note from notes").fetch_all(&mut connect(server).await).await.unwrap()
    }

    #[tokio::test]
    async fn keeps_what_was_committed_and_its_port_through_a_kill_and_a_stop() {
        let (mut server, _dir) = server().await;
        let port = server.port();
        write(&server, "before the kill").await;
        let mut busy = connect(&server).await;
        let query = sqlx::query("select count(*) from generate_series(1, 1000000000)").execute(&mut busy);
        let (broken, killed) = tokio::join!(query, async {
            // Killed while a backend is busy computing, which would go on without its postmaster.
            let began = wait_until(Duration::from_secs(10), || busy_backends(&server)).await;
            assert_eq!(began.unwrap(), Some(1));
            server.kill().await
        });
        assert!(broken.is_err());
        killed.unwrap();
        assert_eq!(server.pid(), None);

        server.start_again().await.unwrap();
        write(&server, "before the stop").await;
        server.stop().await.unwrap();
        server.start_again().await.unwrap();
        assert_eq!(read(&server).await, ["before the kill", "before the stop"]);
        assert_eq!(server.port(), port);
    }

    async fn busy_backends(server: &Postgres) -> Result<Option<i64>> {
        let busy =
            "select count(*) from pg_stat_activity where query like '%generate_series%' and pid <> pg_backend_pid()";
        let count: i64 = sqlx::query_scalar(busy).fetch_one(&mut connect(server).await).await?;
        Ok((count > 0).then_some(count))
    }

    #[tokio::test]
    async fn a_backup_is_as_it_was_and_a_standby_that_falls_behind_lacks_what_came_since() {
        let (mut server, dir) = server().await;
        write(&server, "before").await;
        let (backup, standby) = (dir.path().join("backup"), dir.path().join("standby"));
        for to in [&backup, &standby] {
            server.backup(to).await.unwrap();
        }
        let follower = server.standby(&standby).await.unwrap();
        write(&server, "between").await;
        let followed =
            wait_until(Duration::from_secs(30), || async { Ok((read(&follower).await.len() == 2).then_some(())) });
        assert!(followed.await.unwrap().is_some());
        follower.falls_behind().await.unwrap();
        let gone = wait_until(Duration::from_secs(30), || async {
            let query = "select count(*) from pg_stat_replication";
            let count: i64 = sqlx::query_scalar(query).fetch_one(&mut connect(&server).await).await?;
            Ok((count == 0).then_some(()))
        });
        assert!(gone.await.unwrap().is_some());
        write(&server, "after").await;
        server.kill().await.unwrap();
        let promoted = follower.promote().await.unwrap();
        for (from, kept) in [(promoted, vec!["before", "between"]), (backup, vec!["before"])] {
            server.restore(&from).await.unwrap();
            server.start_again().await.unwrap();
            assert_eq!(read(&server).await, kept);
            server.stop().await.unwrap();
        }
    }

    #[tokio::test]
    async fn opens_the_cluster_that_an_earlier_one_left() {
        let (server, dir) = server().await;
        write(&server, "from the first").await;
        let first = server.pid();
        drop(server);
        let server = Postgres::start(dir.path()).await.unwrap();
        assert_eq!(read(&server).await, ["from the first"]);
        assert_ne!(server.pid(), first);
    }

    #[tokio::test]
    async fn has_a_lasting_stand_in_for_a_directory_that_its_user_cannot_reach() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let dir = closed.path().join("below");
        let server = Postgres::start(&dir).await.unwrap();
        write(&server, "kept").await;
        let used = server.dir().to_owned();
        assert_eq!(used != dir, server.user.is_some());
        drop(server);
        let server = Postgres::start(&dir).await.unwrap();
        assert_eq!((server.dir(), read(&server).await), (used.as_path(), vec!["kept".to_owned()]));
        drop(server);
        fs::remove_dir_all(used).unwrap();
    }

    #[tokio::test]
    async fn commits_durably_and_answers_at_its_socket_too() {
        let (server, _dir) = server().await;
        let url = format!(
            "postgres://{SUPERUSER}@localhost:{}/postgres?host={}",
            server.port(),
            server.socket_dir().display()
        );
        let mut connection = PgConnection::connect(&url).await.unwrap();
        for (setting, wanted) in [("fsync", "on"), ("synchronous_commit", "on"), ("server_encoding", "UTF8")] {
            let show = sqlx::AssertSqlSafe(format!("show {setting}"));
            let value: String = sqlx::query_scalar(show).fetch_one(&mut connection).await.unwrap();
            assert_eq!(value, wanted, "{setting}");
        }
    }

    #[tokio::test]
    async fn leaves_no_process_when_dropped() {
        let (server, _dir) = server().await;
        let _connection = connect(&server).await;
        let processes = server.process.as_ref().unwrap().with_children();
        assert!(processes.len() > 4, "postmaster, checkpointer, writers, our backend: {processes:?}");
        drop(server);
        let left: Vec<_> = processes.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
        assert_eq!(left, Vec::<&u32>::new());
    }

    #[tokio::test]
    async fn says_what_its_log_says_when_it_cannot_start() {
        let (mut server, _dir) = server().await;
        server.stop().await.unwrap();
        fs::write(server.cluster().join("postgresql.conf"), "no_such_setting = 1\n").unwrap();
        let error = server.start_again().await.unwrap_err().to_string();
        assert!(error.contains("did not start") && error.contains("no_such_setting"), "{error}");
    }

    #[test]
    fn is_ready_when_its_own_status_file_says_so() {
        let status = |pid, word| format!("{pid}\n/d\n1700000000\n5432\n/s\n127.0.0.1\n  1234  5\n{word}\n");
        assert!(says_ready(&status(7, "ready   "), 7));
        assert!(!says_ready(&status(7, "starting"), 7));
        assert!(!says_ready(&status(8, "ready   "), 7), "left by another postmaster");
        assert!(!says_ready("7\n/d\n", 7));
    }
}
