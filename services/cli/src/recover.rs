//! `holdfast recover`: after a database has gone back (restored from a backup, or a standby promoted before it had all), what the broker
//! still has is taken back into the log, or given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use domain::{GlobalPosition, StreamVersion};
use platform::{
    broker::{self, Broker},
    print::{self, Paint},
};
use proto::{
    Message, Name,
    common::v1::Money,
    payments::v1::{PaymentRefunded, PaymentSucceeded},
};
use runtime::log::{
    divergence::{self, PublishedEvent},
    event_store::StoredEvent,
    lineage::Lineage,
    recovery::{self, Lost},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::global_args::GlobalArgs;

mod text;

const EXAMPLES: &str = "\
Examples:
  holdfast recover --dry-run
  holdfast recover --adopt --reason 'restored to 12:00, incident 4711'

Exit codes: 0 the log lacks nothing (any more); 1 it does; 2 wrong usage; 3 it could not look.";

/// Options of `holdfast recover`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Args {
    /// Show what the log lacks, and change nothing. Exit code 1 if it lacks anything.
    #[arg(long, group = "what")]
    dry_run: bool,
    /// Take back what the broker has, at its old positions.
    #[arg(long, group = "what")]
    adopt: bool,
    /// Leave it out for good, and begin a new epoch.
    #[arg(long, group = "what", requires = "reason")]
    give_up: bool,
    /// Make this database, a copy of another installation's, an installation of its own.
    #[arg(long, group = "what", value_name = "NAME")]
    rename: Option<String>,
    /// Why, for whoever reads the log later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The file that gets what is given up, one JSON object a line. It must not be there yet.
    #[arg(long, value_name = "FILE", default_value = "given-up.ndjson")]
    file: PathBuf,
}

/// What the log lacks, and what was done about it.
#[derive(Debug, Serialize)]
struct Report {
    /// The last position of the log.
    log_ends: GlobalPosition,
    /// Events that the broker has and the log lacks.
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<Span>,
    /// How many of each type.
    types: BTreeMap<String, u64>,
    /// Streams whose category is `order`.
    orders: u64,
    /// Money that was paid and paid back in the time that is lost.
    money: Vec<Moved>,
    /// Of these events, how many continue their streams as the log has them.
    adoptable: u64,
    /// The others, and why not.
    left_out: Vec<LeftOut>,
    done: Done,
    /// The epoch of the log now.
    epoch: i32,
    /// Where what was given up is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Span {
    first_position: GlobalPosition,
    last_position: GlobalPosition,
    from: String,
    to: String,
}

#[derive(Debug, Serialize)]
struct Moved {
    currency: String,
    payments: u64,
    paid_minor: i64,
    refunds: u64,
    refunded_minor: i64,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    position: GlobalPosition,
    stream: String,
    version: StreamVersion,
    message_type: String,
    why: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Nothing,
    Adopted,
    GivenUp,
}

/// Recovers: exit code 0 if the log lacks nothing (any more), 1 if it does.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    if let Some(name) = &args.rename {
        return rename(&mut connection, name).await;
    }
    let broker = connect(global).await?;
    let report = recover(&args, &broker, connection).await?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text(Paint::for_stdout()))?;
    }
    Ok(if report.done == Done::Nothing && report.lost > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn connect(global: &GlobalArgs) -> Result<Broker> {
    Ok(broker::connect(&global.broker()?, "recover").await?)
}

/// In one transaction, while nobody else writes to the log. Should it fail, nothing has happened.
async fn recover(args: &Args, broker: &Broker, mut connection: PgConnection) -> Result<Report> {
    let mut transaction = connection.begin().await?;
    if !args.dry_run {
        sqlx::raw_sql("lock table log.events in exclusive mode").execute(&mut *transaction).await?;
    }
    let lineage = Lineage::read(&mut transaction).await?;
    let lost = recovery::find(broker, &mut transaction, &lineage).await?;
    let done = match args {
        _ if lost.is_empty() || args.dry_run => Done::Nothing,
        Args { adopt: true, .. } => Done::Adopted,
        _ => Done::GivenUp,
    };
    let given_up: Vec<&PublishedEvent> = match done {
        Done::Nothing => Vec::new(),
        Done::Adopted => lost.left_out.iter().map(|(published, _)| published).collect(),
        Done::GivenUp => lost.all().collect(),
    };
    let mut report = Report::of(&lost, done, lineage.epoch());
    if !given_up.is_empty() {
        keep(&args.file, &given_up)?;
        report.file = Some(args.file.clone());
        report.epoch = lost.all().map(|published| published.epoch).max().unwrap_or(0).max(report.epoch) + 1;
    }
    if done == Done::Adopted {
        adopt(&mut transaction, &lost).await?;
    }
    if done != Done::Nothing {
        for service in proto::SERVICES {
            recovery::doubt_calls(&mut transaction, service).await?;
        }
        let reason = args.reason.as_deref().unwrap_or("what the log had lost was taken back");
        note(&mut transaction, &report, &given_up, reason).await?;
        transaction.commit().await.context("committing")?;
    }
    Ok(report)
}

/// Takes back into log and rows what continues them.
async fn adopt(connection: &mut PgConnection, lost: &Lost) -> Result<()> {
    let events: Vec<&StoredEvent> = lost.adoptable.iter().map(|published| &published.event).collect();
    recovery::append(connection, &events).await?;
    recovery::make_true::<orders::Orders>(connection, &events).await?;
    recovery::make_true::<inventory::Inventory>(connection, &events).await?;
    recovery::make_true::<rounds::Rounds>(connection, &events).await?;
    recovery::make_true::<payments::Payments>(connection, &events).await?;
    let encoded: Vec<(&str, &[u8])> =
        events.iter().map(|event| (event.message_type.as_str(), event.data.as_slice())).collect();
    providers::sandbox::memory::remember(connection, &encoded).await?;
    Ok(())
}

/// Notes what was done, begins a new epoch if something was given up, and has the relay publish again what may not have been handled: those
/// who had handled it have forgotten that with the database.
async fn note(
    connection: &mut PgConnection,
    report: &Report,
    given_up: &[&PublishedEvent],
    reason: &str,
) -> Result<()> {
    let head = divergence::log_ends(connection).await?;
    if !given_up.is_empty() {
        let before = given_up.iter().map(|published| published.event.position).filter(|position| *position <= head);
        sqlx::query("insert into log.epochs (epoch, after, given_up, reason) values ($1, $2, $3, $4)")
            .bind(report.epoch)
            .bind(head.get())
            .bind(before.map(GlobalPosition::get).collect::<Vec<i64>>())
            .bind(reason)
            .execute(&mut *connection)
            .await?;
    }
    let last = report.span.as_ref().map_or(head, |span| span.last_position);
    recovery::pass_over(connection, last).await?;
    sqlx::query("update log.relay set stream_created = 'epoch'").execute(&mut *connection).await?;
    let adopted = if report.done == Done::Adopted { report.adoptable } else { 0 };
    sqlx::query("insert into log.recoveries (log_ended, adopted, given_up, epoch, reason) values ($1, $2, $3, $4, $5)")
        .bind(report.log_ends.get())
        .bind(i64::try_from(adopted).unwrap_or(i64::MAX))
        .bind(i64::try_from(given_up.len()).unwrap_or(i64::MAX))
        .bind(report.epoch)
        .bind(reason)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps events in a file, before they are gone.
fn keep(path: &Path, events: &[&PublishedEvent]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path).with_context(|| {
        format!("making {} for what is given up; nothing was changed. Name another with --file", path.display())
    })?;
    let mut file = BufWriter::new(file);
    for PublishedEvent { sequence, epoch, event } in events {
        let line = serde_json::json!({
            "epoch": epoch,
            "position": event.position,
            "sequence": sequence,
            "stream": event.stream,
            "version": event.version,
            "event_id": event.event_id,
            "service": event.service,
            "type": event.message_type,
            "data": proto::to_json(&event.message_type, &event.data).unwrap_or_default(),
            "correlation_id": event.correlation_id,
            "causation_id": event.causation_id,
            "recorded_at": event.recorded_at.to_string(),
        });
        writeln!(file, "{line}")?;
    }
    let file = file.into_inner().context("writing what is given up")?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

async fn rename(connection: &mut PgConnection, name: &str) -> Result<ExitCode> {
    if name.trim().is_empty() {
        bail!("--rename needs a name");
    }
    let renamed =
        sqlx::query("update log.installation set id = gen_random_uuid(), name = $1 where name is distinct from $1")
            .bind(name)
            .execute(connection)
            .await?;
    print::out(&match renamed.rows_affected() {
        0 => format!("This installation is {name:?} already.\n"),
        _ => format!(
            "This installation is {name:?} now, and not the one that it is a copy of. Start its workers with \
             HOLDFAST_DATABASE_INSTALLATION={name} and a broker of their own.\n"
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn of(lost: &Lost, done: Done, epoch: i32) -> Self {
        let mut types = BTreeMap::new();
        let (mut orders, mut money) = (BTreeSet::new(), BTreeMap::new());
        for PublishedEvent { event, .. } in lost.all() {
            *types.entry(proto::short_name(&event.message_type).to_owned()).or_default() += 1;
            orders.extend(event.stream.strip_prefix("order-"));
            count(&mut money, event);
        }
        let events = || lost.all().map(|published| &published.event);
        let span = events().min_by_key(|event| event.position).zip(events().max_by_key(|event| event.position));
        let left_out = lost.left_out.iter().map(|(PublishedEvent { event, .. }, why)| LeftOut {
            position: event.position,
            stream: event.stream.clone(),
            version: event.version,
            message_type: event.message_type.clone(),
            why: why.clone(),
        });
        Self {
            log_ends: lost.log_ends,
            lost: count_of(lost.all().count()),
            span: span.map(|(first, last)| Span {
                first_position: first.position,
                last_position: last.position,
                from: first.recorded_at.to_string(),
                to: last.recorded_at.to_string(),
            }),
            types,
            orders: count_of(orders.len()),
            money: money.into_values().collect(),
            adoptable: count_of(lost.adoptable.len()),
            left_out: left_out.collect(),
            done,
            epoch,
            file: None,
        }
    }
}

fn count_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Adds the money that an event says has moved.
fn count(money: &mut BTreeMap<String, Moved>, event: &StoredEvent) {
    let is = |name: String| event.message_type == name;
    if is(PaymentSucceeded::full_name())
        && let Ok(PaymentSucceeded { amount: Some(amount), .. }) = PaymentSucceeded::decode(event.data.as_slice())
    {
        let moved = moved(money, &amount);
        moved.payments += 1;
        moved.paid_minor = moved.paid_minor.saturating_add(amount.minor_units);
    }
    if is(PaymentRefunded::full_name())
        && let Ok(PaymentRefunded { amount: Some(amount), .. }) = PaymentRefunded::decode(event.data.as_slice())
    {
        let moved = moved(money, &amount);
        moved.refunds += 1;
        moved.refunded_minor = moved.refunded_minor.saturating_add(amount.minor_units);
    }
}

fn moved<'money>(money: &'money mut BTreeMap<String, Moved>, amount: &Money) -> &'money mut Moved {
    let none =
        || Moved { currency: amount.currency.clone(), payments: 0, paid_minor: 0, refunds: 0, refunded_minor: 0 };
    money.entry(amount.currency.clone()).or_insert_with(none)
}
