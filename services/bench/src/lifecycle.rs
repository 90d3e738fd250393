//! Lifecycles a second: many orders, or many orders of one hot product, from placing to stock committed and shares sold.

use std::time::Duration;

use anyhow::Result;

use super::{
    Args, Report, Scenario,
    closed_loop::{self, Middle},
    goods::{Buyers, Goods},
    limit,
    pump::Outgoing,
    report::Limit,
    stand::{Counts, Stand, published},
    story,
};

/// The events that end a lifecycle.
pub(super) const ENDS: [&str; 2] = ["holdfast.inventory.v1.StockCommitted", "holdfast.rounds.v1.SharesSold"];

/// Orders that are at their end.
pub(super) fn completed(counts: &Counts) -> u64 {
    published(counts, "evt.inventory.StockCommitted").min(published(counts, "evt.rounds.SharesSold"))
}

/// Places an order after the other.
pub(super) fn orders(mut buyers: Buyers) -> impl FnMut() -> Option<Outgoing> {
    move || {
        let (id, order) = buyers.order(None);
        Some(Outgoing::new(id, &order))
    }
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let goods = if args.scenario == Scenario::Hot { Goods::HOT } else { Goods::MANY };
    let mut stand = Stand::start(args.replicas, goods).await?;
    let next = orders(Buyers::new(goods, 1, "sandbox:succeed"));
    let middle = Middle::Time(Duration::from_secs(args.seconds));
    let (span, sent) = closed_loop::run(&stand, middle, args.in_flight, next, completed).await?;
    let count = u64::try_from(sent.len())?;
    let report = Report::of(args.scenario, &stand, &span);
    let verify = stand.audit().await?;
    let times = story::times(&stand.pool, &sent, span.from..span.to, &ENDS).await?;
    let events = limit::events_per_order(&stand.pool, count).await?;
    stand.stop_workers().await?;
    let url = &stand.address.database_url;
    let procedures = limit::procedures::lifecycles_per_second(url, goods).await?;
    let append = limit::append::orders_per_second(url, count).await?;
    stand.stop().await?;
    let limits = vec![
        Limit::new(limit::procedures::LIFECYCLE, procedures, span.per_second()),
        Limit::new(limit::append::WORDS, append, span.per_second()),
    ];
    Ok(report
        .with_times("sent to committed and sold, with so many in flight", &times)
        .with_limits(limits)
        .with_verify(verify)
        .with("work", goods.words())
        .with("in_flight", args.in_flight)
        .with("events_per_order", events))
}
