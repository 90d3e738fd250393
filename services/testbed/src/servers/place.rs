//! Where servers run: as which user, in which directory, at which port.

use std::fs::{self, Metadata, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// In a directory that its server cannot use: the path of the one it uses instead.
const MOVED: &str = "moved-to";

/// The user that Postgres runs as when this process is root, which Postgres refuses to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherUser {
    uid: u32,
    gid: u32,
}

impl OtherUser {
    /// `None` if this process is not root, and so Postgres may run as the same user.
    pub(super) fn needed() -> Result<Option<OtherUser>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let Some(user) = ["postgres", "nobody"].into_iter().find_map(|name| OtherUser::named(name, &users)) else {
            bail!(
                "Postgres refuses to run as root, and /etc/passwd has neither a user postgres nor a user nobody to run \
                 it as; add one, or run this as an ordinary user"
            );
        };
        Ok(Some(user))
    }

    fn named(name: &str, users: &str) -> Option<OtherUser> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (found && uid != 0).then_some(OtherUser { uid, gid })
        })
    }

    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(super) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to uid {}", path.display(), self.uid))
    }

    /// Can this user pass through every directory above `path`, and `path` itself if it is one?
    pub(super) fn reaches(self, path: &Path) -> bool {
        let passes = |about: Metadata| {
            let class = match about {
                _ if about.uid() == self.uid => 0o100,
                _ if about.gid() == self.gid => 0o010,
                _ => 0o001,
            };
            about.mode() & class != 0
        };
        fs::canonicalize(path).is_ok_and(|path| path.ancestors().all(|at| fs::metadata(at).is_ok_and(passes)))
    }
}

/// A fresh directory below the system's temporary one, removed when dropped, that the servers can use whoever runs this.
///
/// (As root, an ordinary temporary directory would be closed to the user that Postgres then runs as.)
pub fn scratch_dir(prefix: &str) -> Result<TempDir> {
    let user = OtherUser::needed()?;
    let mut parents = vec![std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    parents.retain(|parent| parent.is_dir() && user.is_none_or(|user| user.reaches(parent)));
    let Some(parent) = parents.first() else {
        bail!(
            "neither TMPDIR nor /tmp nor /var/tmp is open to the user that Postgres runs as; set TMPDIR to one that is"
        );
    };
    let mode = if user.is_some() { 0o711 } else { 0o700 };
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).permissions(Permissions::from_mode(mode));
    builder.tempdir_in(parent).with_context(|| format!("making a directory in {}", parent.display()))
}

/// Makes `dir` ready for a server that runs as `user`, and answers its absolute path, or that of a directory elsewhere if
/// `user` cannot reach `dir` (below /root, say). The stand-in is remembered in `dir`, so it is the same one next time.
pub(super) fn settle(dir: &Path, user: Option<OtherUser>) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("making the directory {}", dir.display()))?;
    let dir = fs::canonicalize(dir)?;
    let Some(user) = user else { return Ok(dir) };
    if dir.parent().is_none_or(|parent| user.reaches(parent)) {
        user.own(&dir)?;
        return Ok(dir);
    }
    let note = dir.join(MOVED);
    if let Ok(moved) = fs::read_to_string(&note) {
        let moved = PathBuf::from(moved.trim_end());
        let ours = |about: Metadata| about.is_dir() && about.uid() == user.uid;
        if fs::symlink_metadata(&moved).is_ok_and(ours) && user.reaches(&moved) {
            return Ok(moved);
        }
    }
    let moved = scratch_dir("holdfast-")?;
    user.own(moved.path())?;
    fs::write(&note, format!("{}\n", moved.path().display())).with_context(|| format!("writing {}", note.display()))?;
    Ok(moved.keep())
}

/// A TCP port on 127.0.0.1 that nothing listens on at the moment.
///
/// It lies below the range that the kernel takes clients' ports from. From within that range, a client that reconnects to
/// a server that is down can be given the very port it dials, be connected to itself, and keep the server from coming back.
pub fn free_port() -> Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let first = 10_000;
    let end = clients_first_port().min(32_000);
    let span = end.saturating_sub(first);
    // Processes that start servers at the same time begin to look at different places.
    let start = std::process::id().wrapping_mul(7_919).wrapping_add(ASKED.fetch_add(101, Ordering::Relaxed));
    let candidates = (0..span.min(1_000)).map(|step| first + start.wrapping_add(step) % span);
    let free = candidates
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    match free {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no TCP port is free")?.local_addr()?.port()),
    }
}

/// The first port of the range that the kernel gives to clients.
fn clients_first_port() -> u32 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}
