//! The fake as a program of its own.

use std::{io, process::ExitCode};

use clap::Parser;
use fake_stripe::{FakeStripe, Settings, Webhook};

/// A fake of Stripe's API, in memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen on 127.0.0.1; 0 is any port that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where events go.
    #[arg(long)]
    webhook: Option<String>,
    /// What signs them; may be given several times.
    #[arg(long = "secret")]
    secrets: Vec<String>,
    /// What callers must show.
    #[arg(long, default_value = "sk_test_fake")]
    key: String,
    /// What faults follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-stripe: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let Arguments { port, webhook, secrets, key, seed } = arguments;
    let webhook = webhook.map(|url| Webhook { url, secrets });
    let fake = FakeStripe::start(Settings { port, key, webhook, seed, ..Settings::default() }).await?;
    println!("fake-stripe listens on {}", fake.url());
    fake.run().await;
    Ok(())
}
