//! `holdfast send`: any command, from JSON, and its answer.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use operate::letters::commands;
use platform::{client::CommandClient, print};
use proto::{
    Message, Name,
    common::v1::{CommandReply, command_reply::Outcome},
};
use uuid::Uuid;

use crate::{gateway, global_args::GlobalArgs, verb::Way};

/// The most that is read of a file or of standard input; more than any worker takes.
const BYTES_MAX: u64 = 8_388_609;

const EXAMPLES: &str = "\
Examples:
  holdfast send ReceiveStock '{\"sku\": \"MUG-01\", \"quantity\": \"5\"}'
  holdfast send CancelOrder --file cancel.json --dry-run
  holdfast send PlaceOrder --id 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f - < order.json

Exit codes: 0 it was accepted; 1 it was refused; 2 wrong usage; 3 there was no answer.";

/// Options of `holdfast send`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The command: PlaceOrder, or holdfast.orders.v1.PlaceOrder.
    #[arg(value_name = "TYPE")]
    message_type: String,
    /// Its content as proto3 JSON, {"sku": "mug", "name": "A mug"}; - reads it from standard input.
    #[arg(value_name = "JSON")]
    content: Option<String>,
    /// Reads the content from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "content")]
    file: Option<PathBuf>,
    /// Names the command for ever: sent again under the same id, it is answered again and done once. A new one by default.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    wait_seconds: u64,
    /// Say what it would do now, in the rows as they are, and do not send it. What the settings of the workers make of it is not known then.
    #[arg(long)]
    dry_run: bool,
}

/// Sends the command: exit code 0 if it was accepted, 1 if it was rejected, 2 if it is none, 3 if nobody answered.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let (message_type, data) = match read(&args)? {
        Ok(command) => command,
        Err(mistake) => {
            eprintln!("holdfast: {mistake}");
            return Ok(ExitCode::from(2));
        }
    };
    let id = args.id.unwrap_or_else(new_id);
    if args.dry_run {
        return foresee((id, message_type, &data), global).await;
    }
    answered((id, message_type, data), Duration::from_secs(args.wait_seconds), global).await
}

/// How long a worker may take for the command of a verb.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Sends the command of a verb this way and prints its answer, or what it would do.
pub(crate) async fn deliver<M: Message + Name>(
    command: &M,
    (way, dry_run): (&Way, bool),
    global: &GlobalArgs,
) -> Result<ExitCode> {
    if let Way::Gateway(gateway) = way {
        let (reply, refused) = gateway::command::send(gateway, command, new_id()).await?;
        print_reply(&reply, global)?;
        return Ok(refused.map_or(ExitCode::SUCCESS, ExitCode::from));
    }
    let (message_type, data) = (M::full_name(), command.encode_to_vec());
    match dry_run {
        true => foresee((new_id(), &message_type, &data), global).await,
        false => answered((new_id(), &message_type, data), ANSWER_WITHIN, global).await,
    }
}

async fn foresee(command: (Uuid, &str, &[u8]), global: &GlobalArgs) -> Result<ExitCode> {
    let would = operate::would::command(&mut global.database().await?, command).await?;
    if global.json {
        print::json(&serde_json::json!({ "dry_run": true, "would": would }))?;
    } else {
        print::out(&format!("it would {}; nothing was done\n", would.words()))?;
    }
    Ok(if would.be_refused.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn answered(
    (id, message_type, data): (Uuid, &str, Vec<u8>),
    within: Duration,
    global: &GlobalArgs,
) -> Result<ExitCode> {
    let client = CommandClient::connect_as(&global.broker()?, within).await?;
    let reply = client.send_bytes(id, message_type, data).await?;
    print_reply(&reply, global)?;
    Ok(match reply.outcome {
        Some(Outcome::Accepted(_)) => ExitCode::SUCCESS,
        Some(Outcome::Rejected(_)) | None => ExitCode::FAILURE,
    })
}

/// An answer, whichever way it came.
fn print_reply(reply: &CommandReply, global: &GlobalArgs) -> Result<()> {
    let json = proto::to_json(&CommandReply::full_name(), &reply.encode_to_vec())?;
    if global.json { print::json(&json) } else { print::out(&format!("{json:#}\n")) }
}

/// The command as its type and bytes, or what the caller did wrong.
fn read(args: &Args) -> Result<Result<(&'static str, Vec<u8>), String>> {
    if args.id.is_some_and(|id| id.is_nil()) {
        return Ok(Err("--id is the nil UUID; give every command its own".to_owned()));
    }
    let message_type = match resolve(&args.message_type, &commands()) {
        Ok(message_type) => message_type,
        Err(mistake) => return Ok(Err(mistake)),
    };
    let json = match (&args.file, args.content.as_deref()) {
        (Some(path), _) => read_file(path)?,
        (None, Some("-")) => read_all(io::stdin().lock()).context("reading standard input")?,
        (None, Some(content)) => content.as_bytes().to_vec(),
        (None, None) => {
            let short = proto::short_name(message_type);
            return Ok(Err(format!(
                "what is in the {short}? Give it as JSON, as --file FILE, or as - for standard input"
            )));
        }
    };
    Ok(proto::from_json(message_type, &json).map(|data| (message_type, data)).map_err(|error| error.to_string()))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    read_all(file).with_context(|| format!("reading {}", path.display()))
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn resolve(name: &str, known: &[&'static str]) -> Result<&'static str, String> {
    let found = known.iter().find(|full| **full == name || proto::short_name(full) == name);
    found.copied().ok_or_else(|| {
        let names: String = known.iter().map(|full| format!("\n  {} ({full})", proto::short_name(full))).collect();
        format!("there is no command {name:?}; there are{names}")
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command from a person is an edge: its id names it, and derives from nothing"
)]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Args, commands, read, resolve};

    fn args(message_type: &str, content: Option<&str>) -> Args {
        let (message_type, content) = (message_type.to_owned(), content.map(str::to_owned));
        Args { message_type, content, file: None, id: None, wait_seconds: 1, dry_run: false }
    }

    #[test]
    fn a_command_may_be_named_short_or_in_full() {
        let known = commands();
        for name in ["PlaceOrder", "holdfast.orders.v1.PlaceOrder"] {
            assert_eq!(resolve(name, &known), Ok("holdfast.orders.v1.PlaceOrder"));
        }
        assert_eq!(resolve("RegisterProduct", &known), Ok("holdfast.inventory.v1.RegisterProduct"));
        assert_eq!(resolve("OpenRound", &known), Ok("holdfast.rounds.v1.OpenRound"));
        assert_eq!(resolve("ResolveRefund", &known), Ok("holdfast.payments.v1.ResolveRefund"));
    }

    #[test]
    fn an_unknown_command_is_answered_with_all_there_are() {
        let mistake = resolve("placeOrder", &commands()).unwrap_err();
        for name in ["\"placeOrder\"", "PlaceOrder", "holdfast.payments.v1.RecordProviderEvent"] {
            assert!(mistake.contains(name), "{name} is not in {mistake}");
        }
    }

    #[test]
    fn content_is_checked_before_it_is_sent() {
        let (message_type, data) =
            read(&args("ReceiveStock", Some(r#"{"sku": "mug", "quantity": "5"}"#))).unwrap().unwrap();
        assert_eq!(message_type, "holdfast.inventory.v1.ReceiveStock");
        assert!(!data.is_empty());
        let mistake = read(&args("ReceiveStock", Some(r#"{"sku": "mug", "amount": 5}"#))).unwrap().unwrap_err();
        assert!(mistake.contains("amount") && mistake.contains("ReceiveStock"), "{mistake}");
        assert!(read(&args("ReceiveStock", Some("{"))).unwrap().is_err());
    }

    #[test]
    fn a_command_without_content_says_how_to_give_it() {
        assert!(read(&args("ReceiveStock", None)).unwrap().unwrap_err().contains("--file"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let missing = Args { file: Some(PathBuf::from("no/such.json")), ..args("ReceiveStock", None) };
        assert!(format!("{:#}", read(&missing).unwrap_err()).contains("no/such.json"));
    }
}
