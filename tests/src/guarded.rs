//! A fleet whose servers ask who comes and prove who they are, by what deploy/credentials.py makes.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::{
    fleet::{DATABASE, Fleet},
    servers::SUPERUSER,
};

use crate::{python, repo_root, users};

/// What a fleet's processes and servers know each other by.
#[derive(Debug)]
pub struct Credentials {
    dir: PathBuf,
}

/// Who has them: each with a role of its own, and as a user of the broker.
pub const HOLDERS: [&str; 5] = ["orders", "inventory", "rounds", "payments", "gateway"];

impl Credentials {
    /// Makes them for servers on this machine, and has both servers ask for them. Nobody is connected to the broker meanwhile.
    ///
    /// # Errors
    /// They are not made, or a server does not take them.
    pub async fn of(fleet: &mut Fleet, dir: &Path) -> Result<Self> {
        let credentials = Self { dir: dir.to_owned() };
        credentials.make(fleet).await?;
        fleet.nats.stop().await?;
        credentials.give_to_nats(fleet)?;
        let (certificate, key) = (fleet.nats.dir().join("server.crt"), fleet.nats.dir().join("server.key"));
        // The test itself comes without TLS.
        let tls = format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\nallow_non_tls: true\n",
            certificate.display(),
            key.display()
        );
        let settings = fs::read_to_string(fleet.nats.settings())? + &tls;
        fs::write(fleet.nats.settings(), settings)?;
        fleet.nats.start_again().await?;
        let mut postgres = superuser(fleet).await?;
        // The test's fleet was migrated by the superuser.
        sqlx::raw_sql("create role holdfast_owner login createrole").execute(&mut postgres).await?;
        sqlx::raw_sql("alter system set ssl = on").execute(&mut postgres).await?;
        credentials.give_to_postgres(fleet).await?;
        Ok(credentials)
    }

    async fn make(&self, fleet: &Fleet) -> Result<()> {
        let mut command = tokio::process::Command::new(python());
        command.arg("-B").arg(repo_root().join("deploy/credentials.py")).arg(&self.dir).arg("--in-place");
        command.arg("--postgres").arg(format!("127.0.0.1:{}", fleet.postgres.port()));
        command.arg("--nats").arg(format!("127.0.0.1:{}", fleet.nats.port()));
        let output = command.stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            bail!("credentials.py: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn give_to_nats(&self, fleet: &Fleet) -> Result<()> {
        for name in ["keys.conf", "server.crt", "server.key"] {
            give(&self.dir.join("nats").join(name), fleet.nats.dir())?;
        }
        Ok(())
    }

    /// Certificate, rules and passwords.
    async fn give_to_postgres(&self, fleet: &Fleet) -> Result<()> {
        let (own, cluster) = (self.dir.join("postgres"), fleet.postgres.dir().join("cluster"));
        for name in ["server.crt", "server.key"] {
            give(&own.join(name), &cluster)?;
        }
        // The test itself comes without a password.
        let rules = fs::read_to_string(own.join("pg_hba.conf"))?;
        fs::write(cluster.join("pg_hba.conf"), format!("host all {SUPERUSER} all trust\n{rules}"))?;
        let mut postgres = superuser(fleet).await?;
        let roles = fs::read_to_string(own.join("roles.sql"))?;
        sqlx::raw_sql(AssertSqlSafe(roles)).execute(&mut postgres).await?;
        sqlx::query("select pg_reload_conf()").execute(&mut postgres).await?;
        Ok(())
    }

    /// The settings of one of the processes.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn settings(&self, process: &str) -> Result<BTreeMap<String, String>> {
        let file = self.dir.join(format!("holdfast-{process}")).join("holdfast.toml");
        let settings: toml::Table = fs::read_to_string(&file)?.parse()?;
        let said = |section: &str, key: &str| -> Result<String> {
            let said = settings.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_str);
            Ok(said.with_context(|| format!("{section}.{key}"))?.to_owned())
        };
        let file = file.into_os_string().into_string().ok().context("the name of the file of settings")?;
        Ok(BTreeMap::from([
            ("HOLDFAST_CONFIG".to_owned(), file),
            // A worker of a test is told by its environment, which is stronger than the file.
            ("HOLDFAST_DATABASE_URL".to_owned(), said("database", "url")?),
            ("HOLDFAST_BROKER_URL".to_owned(), said("broker", "url")?),
            ("HOLDFAST_BROKER_CREDENTIALS".to_owned(), said("broker", "credentials")?),
        ]))
    }

    /// The password of a process.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn password(&self, process: &str) -> Result<String> {
        let file = self.dir.join(format!("holdfast-{process}")).join("database-password");
        Ok(fs::read_to_string(file)?.trim().to_owned())
    }

    /// Writes another password for all who have one, which Postgres does not know yet, and ends all sessions.
    ///
    /// # Errors
    /// They are not made.
    pub async fn write_passwords(&self, fleet: &Fleet) -> Result<()> {
        for process in HOLDERS {
            fs::remove_file(self.dir.join(format!("holdfast-{process}")).join("database-password"))?;
        }
        self.make(fleet).await?;
        end_sessions(fleet).await
    }

    /// Tells Postgres the passwords that are written, and ends all sessions.
    ///
    /// # Errors
    /// The database does not take them.
    pub async fn change_passwords(&self, fleet: &Fleet) -> Result<()> {
        self.give_to_postgres(fleet).await?;
        end_sessions(fleet).await
    }

    /// Gives all who have one another key. nats-server sends away whoever came with the one before.
    ///
    /// # Errors
    /// The keys are not made, or nats-server does not read them.
    pub async fn change_keys(&self, fleet: &Fleet) -> Result<()> {
        for process in HOLDERS {
            fs::remove_file(self.dir.join("keys").join(format!("{process}.nk")))?;
        }
        self.make(fleet).await?;
        self.give_to_nats(fleet)?;
        users::reload(&fleet.nats).await
    }

    /// Gives both servers another certificate of the same authority, and ends the sessions that began with the one before.
    ///
    /// # Errors
    /// A server does not read it.
    pub async fn change_certificates(&self, fleet: &Fleet) -> Result<()> {
        for server in ["postgres", "nats"] {
            for name in ["server.crt", "server.key"] {
                fs::remove_file(self.dir.join(server).join(name))?;
            }
        }
        self.make(fleet).await?;
        self.give_to_nats(fleet)?;
        users::reload(&fleet.nats).await?;
        self.give_to_postgres(fleet).await?;
        end_sessions(fleet).await
    }
}

/// Copies a file of which whoever owns the directory is to be the one who reads it.
fn give(file: &Path, to: &Path) -> Result<()> {
    let owner = fs::metadata(to)?;
    let name = file.file_name().context("a file has a name")?;
    // Who reads meanwhile has the old one or the new one.
    let new = to.join("new");
    fs::copy(file, &new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(&new, Some(owner.uid()), Some(owner.gid()))?;
    Ok(fs::rename(&new, to.join(name))?)
}

async fn superuser(fleet: &Fleet) -> Result<PgConnection> {
    Ok(PgConnection::connect(&fleet.postgres.url(SUPERUSER, DATABASE)).await?)
}

async fn end_sessions(fleet: &Fleet) -> Result<()> {
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename like 'holdfast\\_%'")
        .execute(&mut superuser(fleet).await?)
        .await?;
    Ok(())
}
