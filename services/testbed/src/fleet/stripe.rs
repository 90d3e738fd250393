//! A fake of Stripe beside a fleet: how payments and the gateway find it, and the program itself, which lies beside the workers.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{HttpAccess, program};
use crate::{
    http,
    servers::{Process, Signal, wait_until},
};

/// What it signs its webhooks with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_fake_0123456789abcdef";

/// What callers show to the program.
const KEY: &str = "sk_test_of_the_fake";

/// What it says once it listens.
const LISTENS: &str = "fake-stripe listens on ";

/// How long it may take until then.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to tell everything by webhook.
const TELLS_WITHIN: Duration = Duration::from_secs(60);

/// The settings with which payments and the gateway find Stripe at this address. Key and secret are kept in files in `dir`.
///
/// # Errors
/// The files cannot be written.
pub fn settings(dir: &Path, url: &str, key: &str) -> Result<BTreeMap<String, String>> {
    let write = |name: &str, text: &str| -> Result<String> {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(fs::canonicalize(&path)?.to_string_lossy().into_owned())
    };
    Ok(BTreeMap::from([
        ("HOLDFAST_STRIPE_SECRET_KEY".to_owned(), write("stripe-key", key)?),
        ("HOLDFAST_STRIPE_WEBHOOK_SECRETS".to_owned(), write("stripe-webhook-secrets", WEBHOOK_SECRET)?),
        ("HOLDFAST_STRIPE_URL".to_owned(), url.to_owned()),
    ]))
}

/// Where the gateway at `127.0.0.1:41231` takes in webhooks.
#[must_use]
pub fn webhook_url(address: &str) -> String {
    format!("http://{address}/webhooks/stripe")
}

/// The page on which an order, as the gateway shows it, can be paid now.
#[must_use]
pub fn checkout_url(order: &Value) -> Option<&str> {
    let payments = order.get("payments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    payments.iter().find_map(|payment| payment.get("checkout_url").and_then(Value::as_str))
}

/// The fake as a program that runs. Dropping it ends it, and what it knows is gone.
#[derive(Debug)]
pub struct FakeStripe {
    /// Declared for its end.
    _process: Process,
    /// `http://127.0.0.1:41232`
    pub url: String,
}

/// What it has, in minor units of one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// What came.
    pub captured: i64,
    /// What went back.
    pub refunded: i64,
}

impl FakeStripe {
    /// Starts it. Its log is `<dir>/log/fake-stripe.log`.
    ///
    /// # Errors
    /// The program is not there, or does not start.
    pub async fn start(dir: &Path) -> Result<Self> {
        let log = dir.join("log").join("fake-stripe.log");
        fs::create_dir_all(dir.join("log"))?;
        let output = File::create(&log).with_context(|| format!("opening the log {}", log.display()))?;
        let mut command = Process::command(program("fake-stripe")?, Signal::TERM);
        command
            .args(["--port", "0", "--key", KEY])
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output));
        let process = Process::spawn("fake-stripe", command, Signal::TERM)?;
        let listens = wait_until(LISTENS_WITHIN, || async {
            let said = fs::read_to_string(&log)?;
            if process.exited().is_some() {
                bail!("fake-stripe ended at once: {said}");
            }
            let line = said.lines().find_map(|line| line.strip_prefix(LISTENS)).filter(|_| said.ends_with('\n'));
            Ok(line.map(str::to_owned))
        });
        let url = listens.await?.context("fake-stripe does not listen")?;
        Ok(Self { _process: process, url })
    }

    /// The settings with which payments and the gateway find it.
    ///
    /// # Errors
    /// See [`settings`].
    pub fn settings(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        settings(dir, &self.url, KEY)
    }

    /// Uses one of its controls, `webhook` or `faults`.
    ///
    /// # Errors
    /// It refuses, or does not answer.
    pub async fn control(&self, act: &str, body: &Value) -> Result<()> {
        let (address, _) = http::parts(&self.url)?;
        let answer = http::request(address, "POST", &format!("/_fake/{act}"), &[], &body.to_string()).await?;
        ensure!(answer.status == 200, "fake-stripe refused {act}: {}", answer.text);
        Ok(())
    }

    /// From now on webhooks reach this gateway.
    ///
    /// # Errors
    /// See [`FakeStripe::control`].
    pub async fn tells(&self, gateway: &HttpAccess) -> Result<()> {
        let (address, _) = http::parts(&gateway.url)?;
        self.control("webhook", &json!({ "url": webhook_url(address), "secrets": [WEBHOOK_SECRET] })).await
    }

    /// Waits until no webhook is under way any more.
    ///
    /// # Errors
    /// Some cannot be delivered.
    pub async fn all_is_told(&self) -> Result<()> {
        let (address, _) = http::parts(&self.url)?;
        let bearer = format!("Bearer {KEY}");
        let path = "/v1/events?delivery_success=false&limit=1";
        let told = wait_until(TELLS_WITHIN, || async {
            // It is a call like any other, and may lose its answer.
            let Ok(answer) = http::request(address, "GET", path, &[("authorization", &bearer)], "").await else {
                return Ok(None);
            };
            let left = answer.json.get("data").and_then(Value::as_array).map(Vec::len);
            Ok(left.filter(|left| *left == 0).map(drop))
        });
        told.await?.context("the gateway does not take in all webhooks of fake-stripe")
    }

    /// What it has in this currency, by its own ledger.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn sums(&self, currency: &str) -> Result<Sums> {
        let (address, _) = http::parts(&self.url)?;
        let ledger = http::request(address, "GET", "/_fake/ledger", &[], "").await?.json;
        let totals = ledger.get("totals").and_then(|totals| totals.get(currency.to_lowercase()));
        let sum = |field: &str| totals.and_then(|totals| totals.get(field)).and_then(Value::as_i64).unwrap_or_default();
        Ok(Sums { captured: sum("captured"), refunded: sum("refunded") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::FakeStripe;

    #[tokio::test]
    async fn an_answer_that_is_lost_is_asked_for_again() {
        let dir = TempDir::with_prefix("holdfast-fake-").unwrap();
        let stripe = FakeStripe::start(dir.path()).await.unwrap();
        stripe.control("faults", &json!({ "lost_answer": 50 })).await.unwrap();
        for _ in 0..20 {
            stripe.all_is_told().await.unwrap();
        }
    }
}
