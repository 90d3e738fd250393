//! `holdfast tail`: events as they come, of an order or of all, through the gateway; after a lost connection it goes on where it was.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use audit::replay::At;
use domain::legible;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use platform::{
    clock,
    print::{Look, Paint},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    gateway::{
        Gateway,
        failure::{AWAY, Failure, USAGE},
        stream::{Events, Heard},
    },
    get,
    global_args::GlobalArgs,
    output::Output,
    shown::{Times, Zone},
};

const EXAMPLES: &str = "\
Examples:
  holdfast tail order R-1001
  holdfast tail order 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f --until StockCommitted -o jsonl
  holdfast tail --event OrderPaid --event OrderRefunded
  holdfast tail --since 120400 -o jsonl > events.jsonl

Of an order, all is told from its beginning or from --since on; of all orders, what comes, or what came after position --since. A lost
connection is made anew, and nothing is missed or told twice. All orders need the scope audit:read, one needs orders:read.

Exit codes: 0 what was waited for has come; 1 there is no such order; 2 wrong usage, or no context; 3 there is no gateway; 4 the token is
not good for it; 130 ended by Ctrl-C.";

/// The gateway says something every 15 seconds; of a connection that is silent for so long, nothing is left.
const SILENT_MAX: Duration = Duration::from_mins(1);

/// Before coming again, and at most, if the gateway stays away.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);

/// The most letters of an event's data in a line.
const DATA_CHARS_MAX: usize = 1_000;

/// Options of `holdfast tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What it is, if not all is to be heard.
    #[arg(value_name = "KIND", value_parser = ["order"], requires = "id")]
    kind: Option<String>,
    /// Its id, or the shop's own number of it.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only events after this position; of an order also: of this time or later, RFC 3339 with its zone.
    #[arg(long, value_name = "POSITION|TIME")]
    since: Option<At>,
    /// Only events of these types: OrderPaid.
    #[arg(long, value_name = "EVENT")]
    event: Vec<String>,
    /// End with the first event of this type.
    #[arg(long, value_name = "EVENT")]
    until: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "COUNT")]
    count: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    times: Times,
}

/// Tells what comes: exit code 0 once what is waited for has come.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let known = proto::message_types();
    for name in args.event.iter().chain(&args.until) {
        if !known.iter().any(|full| proto::short_name(full) == name) {
            return Err(Failure::error(
                USAGE,
                format!("there is no event {name}: `holdfast asyncapi` has all of them"),
            ));
        }
    }
    let gateway = Gateway::in_use(global)?;
    let path = match &args.id {
        Some(id) => format!("/v1/orders/{}/events", get::order_id(&gateway, id).await?),
        None => "/v1/events".to_owned(),
    };
    let (position, since) = match &args.since {
        Some(At::Position(position)) => (Some(position.to_string()), None),
        Some(At::Time(time)) if args.id.is_some() => (None, Some(time.to_string().parse().context("reading --since")?)),
        Some(At::Time(_)) => return Err(Failure::error(USAGE, "of all orders, --since is a position, and no time")),
        None => (None, None),
    };
    let teller = Teller {
        since,
        told: 0,
        zone: args.times.zone(),
        paint: Paint::for_stdout(),
        output: global.output(),
        args: &args,
    };
    Tail { gateway, path, last: position, teller }.follow().await?;
    Ok(ExitCode::SUCCESS)
}

struct Tail<'a> {
    gateway: Gateway,
    path: String,
    /// The position that was heard last.
    last: Option<String>,
    teller: Teller<'a>,
}

impl Tail<'_> {
    /// Listens until all is told that was asked for, and again after each connection that is lost.
    async fn follow(&mut self) -> Result<()> {
        let (mut has_begun, mut wait) = (false, AGAIN_AFTER);
        loop {
            match self.gateway.listen(&self.path, self.last.as_deref()).await {
                Ok(body) => {
                    (has_begun, wait) = (true, AGAIN_AFTER);
                    if self.hear(body).await? {
                        return Ok(());
                    }
                }
                Err(error) if has_begun && is_away(&error) => {
                    if wait == AGAIN_AFTER {
                        eprintln!("holdfast: {error}; it is tried again until it comes back");
                    }
                    wait = (wait * 2).min(AGAIN_AFTER_MAX);
                }
                Err(error) => return Err(error),
            }
            clock::sleep(wait).await;
        }
    }

    /// Tells what comes over one connection. `true`: that was all; `false`: it has ended.
    async fn hear(&mut self, mut body: Incoming) -> Result<bool> {
        let mut events = Events::default();
        while let Ok(Some(Ok(frame))) = timeout(SILENT_MAX, body.frame()).await {
            let Some(bytes) = frame.data_ref() else { continue };
            for heard in events.take(bytes).map_err(|why| Failure::error(AWAY, why))? {
                if !heard.id.is_empty() {
                    self.last = Some(heard.id.clone());
                }
                if self.teller.tell(&heard)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == AWAY)
}

struct Teller<'a> {
    since: Option<Timestamp>,
    told: usize,
    zone: Zone,
    paint: Paint,
    output: Output,
    args: &'a Args,
}

impl Teller<'_> {
    /// Tells of an event, if it is wanted. `true`: it is the last one.
    fn tell(&mut self, heard: &Heard) -> Result<bool> {
        // What has no data only says how far it is.
        if heard.data.is_empty() {
            return Ok(false);
        }
        let event: Value = serde_json::from_str(&heard.data)
            .map_err(|error| Failure::error(AWAY, format!("what comes is no event: {error}")))?;
        let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = proto::short_name(text("type"));
        let at = text("recorded_at").parse::<Timestamp>().ok();
        let Args { event: wanted, until, count, .. } = self.args;
        let is_wanted = (wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
            && self.since.is_none_or(|since| at.is_none_or(|at| at >= since));
        if is_wanted {
            let line = match self.output {
                Output::Json | Output::Jsonl => heard.data.clone(),
                Output::Name | Output::Table => self.line(&event, name),
            };
            if !said(&line)? {
                return Ok(true);
            }
            self.told += 1;
        }
        let is_last = until.as_ref().is_some_and(|until| until == name);
        Ok(is_last || count.is_some_and(|count| self.told >= count.get()))
    }

    fn line(&self, event: &Value, name: &str) -> String {
        let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
        let data = event.get("data").map(Value::to_string).unwrap_or_default();
        let dim = |text: &str| self.paint.text(text, Look::Dim);
        let (time, position) = (self.zone.time(text("recorded_at")), legible(text("position"), 20));
        let (name, stream) = (legible(name, 64), legible(text("stream"), 128));
        let (name, data) = (self.paint.text(&format!("{name:<22}"), Look::Bold), legible(&data, DATA_CHARS_MAX));
        format!("{}  {}  {name}  {stream}  {}", dim(&time), dim(&format!("{position:>8}")), dim(&data))
    }
}

/// Prints a line. `false`: nobody reads it any more.
fn said(line: &str) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        ended => ended.context("writing to standard output").map(|()| true),
    }
}
