//! Growth: what an order costs with a long history in the store, against what it cost when the log was nearly empty.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Args, Report,
    closed_loop::{self, Middle, Span},
    goods::{Buyers, Goods},
    history,
    lifecycle::{completed, orders},
    limit,
    numbers::Thousandths,
    report::Limit,
    stand::Stand,
};

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let goods = Goods::MANY;
    let mut stand = Stand::start(args.replicas, goods).await?;
    let young = lifecycles(&stand, args, 1).await?;
    stand.audit().await?;
    let before = Report::of(args.scenario, &stand, &young);
    stand.stop_workers().await?;

    let begun = Instant::now();
    history::write(&stand.address.database_url, goods, args.events).await?;
    let wrote = begun.elapsed();
    stand.fleet.start_workers()?;
    stand.fleet.ready().await?;

    let old = lifecycles(&stand, args, 2).await?;
    let report = Report::of(args.scenario, &stand, &old);
    let verify = stand.audit().await?;
    let events = limit::events(&stand.pool).await?;
    stand.stop().await?;
    let cost = |span: &Span| span.usage.worker() + span.usage.postgres + span.usage.nats;
    let each = |span: &Span| Thousandths::ms_each(cost(span), span.done);
    let limits = vec![Limit::new("the same on a nearly empty log", young.per_second(), old.per_second())];
    Ok(report
        .with_limits(limits)
        .with_verify(verify)
        .with("work", goods.words())
        .with("events", events)
        .with("history_written_in_s", wrote.as_secs())
        .with("cpu_ms_per_order_before", serde_json::to_value(&before.cpu_ms_per_order)?)
        .with("cpu_ms_per_order_in_all", serde_json::to_value([each(&young), each(&old)])?))
}

async fn lifecycles(stand: &Stand, args: &Args, seed: u64) -> Result<Span> {
    let next = orders(Buyers::new(Goods::MANY, seed, "sandbox:succeed"));
    let middle = Middle::Time(Duration::from_secs(args.seconds));
    Ok(closed_loop::run(stand, middle, args.in_flight, next, completed).await?.0)
}
