//! What the world does besides buying: a provider that reports by itself, people with several wishes, one command id at two services,
//! and an operator who decides what waits for a person. Notes are kept of the money of all of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::future::join_all;
use holdfast_tests::{Order, at, code, events, is_accepted, money, report, report_resolution};
use platform::clock;
use proto::{
    Message, Name,
    common::v1::CommandReply,
    orders::v1::{PlaceOrder, RequestRefund},
    payments::v1::{
        ProviderEventKind as Kind, RecordProviderEvent, RefundResolution, ReportResolution, ResolveProviderReport,
        ResolveRefund,
    },
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::shop::{Shop, sku};

/// One order in so many is the world's.
const ONE_IN: u32 = 5;

/// What one piece costs, in euro cents.
const PIECE: i64 = 1_000;

/// How often the operator looks what there is to decide.
const DECIDES_EVERY: Duration = Duration::from_millis(700);

/// What the world does about one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// A card is declined before another one pays, and the success is reported twice.
    Declined,
    /// The buyer pays twice, and wants everything back.
    SecondCharge,
    /// The bank takes the money back, and the buyer wants it too.
    TakenBack,
    /// A part goes back in the provider's dashboard, which is reported twice; then the buyer wants the rest.
    Elsewhere,
    /// The success is reported before the order is placed.
    Early,
    /// A charge of an order that nobody ever places.
    NeverPlaced,
    /// Two parts are wanted back at once, then the paid order is cancelled.
    Wishes,
    /// An order is cancelled twice at once while it is under way.
    CancelledUnderWay,
    /// One command id is used at two services, and both refuse.
    OneIdTwice,
}

const STORIES: [Story; 9] = [
    Story::Declined,
    Story::SecondCharge,
    Story::TakenBack,
    Story::Elsewhere,
    Story::Early,
    Story::NeverPlaced,
    Story::Wishes,
    Story::CancelledUnderWay,
    Story::OneIdTwice,
];

/// What was reported and decided of one payment's money, in euro cents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// Charges, by the provider's id of the report.
    pub(crate) came: BTreeMap<String, i64>,
    /// Charges that the bank took back.
    pub(crate) taken_back: BTreeMap<String, i64>,
    /// Refunds made in the provider's dashboard.
    pub(crate) elsewhere: BTreeMap<String, i64>,
    /// What an operator said that buyers have.
    pub(crate) by_hand: i64,
    /// What an operator decided about reports.
    pub(crate) decided: BTreeMap<String, ReportResolution>,
    /// Whether nothing may be left in the end.
    pub(crate) is_all_to_go_back: bool,
}

/// Whether this order is the world's.
pub(crate) fn takes_part(chance: &mut StdRng) -> bool {
    chance.random_ratio(1, ONE_IN)
}

/// One order of the world's: what comes of it follows from the seed and the number.
pub(crate) async fn visit(shop: &Shop, chance: &mut StdRng, name: u64) {
    let order = Order::new(name).line(&sku(chance.random_range(0..10)), 2).pays("sandbox:never");
    let story = STORIES.choose(chance).copied().unwrap_or(Story::Declined);
    let mut visit = Visit { shop, order, cents: 2 * PIECE };
    match story {
        Story::Declined => visit.declined().await,
        Story::SecondCharge => visit.second_charge(chance.random_range(1..5_000)).await,
        Story::TakenBack => visit.taken_back(chance.random()).await,
        Story::Elsewhere => visit.elsewhere(chance.random_range(1..2 * PIECE)).await,
        Story::Early => visit.early().await,
        Story::NeverPlaced => visit.never_placed().await,
        Story::Wishes => {
            let refund = ["succeed", "lose_response", "fail_then_succeed", "fail_later,refund_after=500ms"];
            let refund = refund.choose(chance).copied().unwrap_or("succeed");
            visit.order = visit.order.pays(&format!("sandbox:succeed,refund={refund}"));
            visit.wishes().await;
        }
        Story::CancelledUnderWay => {
            visit.order = visit.order.pays("sandbox:succeed,after=300ms");
            visit.cancelled_under_way(chance.random_range(0..600)).await;
        }
        Story::OneIdTwice => visit.one_id_twice().await,
    }
}

struct Visit<'a> {
    shop: &'a Shop,
    order: Order,
    /// What it costs.
    cents: i64,
}

impl Visit<'_> {
    async fn declined(&self) {
        self.place().await;
        let declined = self.report(Kind::PaymentFailed, "evt-0", "ch-0", self.cents, -10);
        self.send("declined", &declined).await;
        let paid = self.report(Kind::PaymentSucceeded, "evt-1", "ch-1", self.cents, 0);
        self.note(|note| note.came.insert("evt-1".to_owned(), self.cents));
        self.twice(&paid).await;
    }

    async fn second_charge(&self, cents: i64) {
        self.place().await;
        self.pay().await;
        self.charge("evt-2", "ch-2", cents).await;
        if self.shop.until_ended(self.order.id).await {
            self.give_all_back().await;
        }
    }

    async fn taken_back(&self, is_wanted_too: bool) {
        self.place().await;
        self.pay().await;
        let taken_back = self.report(Kind::PaymentFailed, "evt-2", "ch-1", self.cents, 5);
        self.note(|note| note.taken_back.insert("evt-2".to_owned(), self.cents));
        self.send("taken back", &taken_back).await;
        if is_wanted_too && self.shop.until_ended(self.order.id).await {
            self.send("all", &self.order.refund_as("all")).await;
        }
    }

    async fn elsewhere(&self, cents: i64) {
        self.place().await;
        self.pay().await;
        let elsewhere = self.report(Kind::RefundSucceeded, "evt-2", "re-theirs", cents, 5);
        self.note(|note| note.elsewhere.insert("evt-2".to_owned(), cents));
        self.twice(&elsewhere).await;
        if self.shop.until_ended(self.order.id).await {
            self.send("rest", &self.order.refund_as("rest")).await;
        }
    }

    async fn early(&self) {
        self.pay().await;
        self.place().await;
    }

    async fn never_placed(&self) {
        self.charge("evt-1", "ch-1", self.cents).await;
    }

    async fn wishes(&self) {
        self.place().await;
        if !self.shop.until_ended(self.order.id).await {
            return;
        }
        self.note(|note| note.came.insert("sandbox".to_owned(), self.cents));
        let part = |name: &str, cents| RequestRefund { amount: Some(money(cents)), ..self.order.refund_as(name) };
        let (first, second) = (part("first", 300), part("second", 400));
        tokio::join!(self.send("first", &first), self.send("second", &second));
        if self.send("cancel", &self.order.cancel()).await.is_some_and(|reply| is_accepted(&reply)) {
            self.note(|note| note.is_all_to_go_back = true);
        }
    }

    async fn cancelled_under_way(&self, after_ms: u64) {
        self.place().await;
        clock::sleep(Duration::from_millis(after_ms)).await;
        let cancel = self.order.cancel();
        tokio::join!(self.send("cancel", &cancel), self.send("cancel again", &cancel));
    }

    async fn one_id_twice(&self) {
        let id = self.id("one id");
        let report = report_resolution(&self.order, "evt-1", ReportResolution::Undone);
        let orders = self.send_as(id, &self.order.cancel()).await;
        let payments = self.send_as(id, &report).await;
        for (reply, wanted) in [(orders, "UNKNOWN_ORDER"), (payments, "UNKNOWN_PAYMENT")] {
            if let Some(reply) = reply.filter(|reply| code(reply) != wanted) {
                self.shop.complain(format!("one id at two services was to be {wanted}, and is answered {reply:?}"));
            }
        }
    }

    async fn place(&self) {
        self.shop.expect(self.order.id);
        let placed = self.shop.send_as(self.order.id, &PlaceOrder::full_name(), self.order.place.encode_to_vec()).await;
        self.shop.answered(self.order.id, placed.as_ref());
    }

    async fn pay(&self) {
        self.charge("evt-1", "ch-1", self.cents).await;
    }

    async fn charge(&self, event_id: &str, reference: &str, cents: i64) {
        self.note(|note| note.came.insert(event_id.to_owned(), cents));
        self.send(event_id, &self.report(Kind::PaymentSucceeded, event_id, reference, cents, 0)).await;
    }

    async fn give_all_back(&self) {
        if self.send("all", &self.order.refund_as("all")).await.is_some_and(|reply| is_accepted(&reply)) {
            self.note(|note| note.is_all_to_go_back = true);
        }
    }

    /// A report comes under two command ids: it is news once.
    async fn twice(&self, report: &RecordProviderEvent) {
        let (once, again) = (self.send("once", report).await, self.send("again", report).await);
        if let (Some(once), Some(again)) = (once, again)
            && (events(&once).is_empty() || !events(&again).is_empty())
        {
            self.shop.complain(format!("{report:?} did this: {once:?}, and the second time: {again:?}"));
        }
    }

    fn report(&self, kind: Kind, event_id: &str, reference: &str, cents: i64, seconds: i64) -> RecordProviderEvent {
        let report = report(kind, &self.order, event_id, cents);
        RecordProviderEvent { provider_reference: reference.to_owned(), occurred_at: at(seconds), ..report }
    }

    fn id(&self, name: &str) -> Uuid {
        Uuid::new_v5(&self.order.id, name.as_bytes())
    }

    async fn send<M: Message + Name>(&self, name: &str, command: &M) -> Option<CommandReply> {
        self.send_as(self.id(name), command).await
    }

    async fn send_as<M: Message + Name>(&self, id: Uuid, command: &M) -> Option<CommandReply> {
        self.shop.send_as(id, &M::full_name(), command.encode_to_vec()).await
    }

    fn note<T>(&self, change: impl FnOnce(&mut Note) -> T) {
        change(self.shop.notes().entry(self.order.payment_id()).or_default());
    }
}

/// Decides whatever waits for a person, again and again; never ends by itself.
pub(crate) async fn operate(shop: Arc<Shop>) {
    let mut connection = None;
    let mut turn = 0;
    loop {
        clock::sleep(DECIDES_EVERY).await;
        turn += 1;
        let _busy = shop.desk().lock().await;
        // Postgres may be away for a while.
        if decide(&shop, &mut connection, turn).await.is_err() {
            connection = None;
        }
    }
}

async fn decide(shop: &Shop, connection: &mut Option<PgConnection>, turn: u64) -> Result<()> {
    if connection.is_none() {
        *connection = Some(PgConnection::connect(shop.database_url()).await?);
    }
    let connection = connection.as_mut().context("there is a connection")?;
    // What nobody was asked for yet may still be asked for while the shop is open.
    let reports: Vec<(Uuid, String, String)> = sqlx::query_as(
        "select payment_id, provider_event_id, mismatch from payments.reports
         where standing = 'open' and (mismatch <> 'not_asked' or $1)",
    )
    .bind(shop.is_closed())
    .fetch_all(&mut *connection)
    .await?;
    let refunds: Vec<(Uuid, Uuid, i64, String)> = sqlx::query_as(
        "select payment_id, refund_id, amount_minor, status from payments.refunds
         where status in ('unknown', 'reversed')",
    )
    .fetch_all(&mut *connection)
    .await?;
    let reports =
        reports.into_iter().map(|(payment, event, mismatch)| decide_report(shop, turn, payment, event, mismatch));
    let refunds = refunds
        .into_iter()
        .map(|(payment, refund, cents, status)| decide_refund(shop, turn, payment, refund, cents, status));
    let payments: Vec<Uuid> = shop.notes().keys().copied().collect();
    let owed: Vec<Uuid> = sqlx::query_scalar(OWED).bind(payments).fetch_all(&mut *connection).await?;
    let owed = owed.into_iter().map(|order| give_back(shop, turn, order));
    tokio::join!(join_all(reports), join_all(refunds), join_all(owed));
    Ok(())
}

/// Orders of the world's that were to give all back, and whose refunds were given up.
pub(crate) const OWED: &str =
    "select order_id from orders.orders where owed_minor > 0 and refunding_minor = 0 and payment_id = any($1)";

/// An operator asks once more for what is owed.
async fn give_back(shop: &Shop, turn: u64, order: Uuid) {
    let command = RequestRefund {
        order_id: order.to_string(),
        actor: "ops".to_owned(),
        note: "the provider is there again".to_owned(),
        ..RequestRefund::default()
    };
    let id = Uuid::new_v5(&order, format!("owed {turn}").as_bytes());
    shop.send_as(id, &RequestRefund::full_name(), command.encode_to_vec()).await;
}

fn is_even(payment: Uuid) -> bool {
    payment.as_u128().is_multiple_of(2)
}

async fn decide_report(shop: &Shop, turn: u64, payment: Uuid, provider_event_id: String, mismatch: String) {
    let is_so = mismatch == "not_asked" || is_even(payment);
    let resolution = if is_so { ReportResolution::Accepted } else { ReportResolution::Undone };
    let command = ResolveProviderReport {
        payment_id: payment.to_string(),
        provider_event_id: provider_event_id.clone(),
        resolution: resolution.into(),
        actor: "ops".to_owned(),
        note: "looked at the provider".to_owned(),
    };
    let id = Uuid::new_v5(&payment, format!("{provider_event_id} {turn}").as_bytes());
    let reply = shop.send_as(id, &ResolveProviderReport::full_name(), command.encode_to_vec()).await;
    if reply.is_some_and(|reply| !events(&reply).is_empty())
        && let Some(note) = shop.notes().get_mut(&payment)
    {
        note.decided.insert(provider_event_id, resolution);
    }
}

async fn decide_refund(shop: &Shop, turn: u64, payment: Uuid, refund: Uuid, cents: i64, status: String) {
    let is_back = status == "reversed" && is_even(payment);
    let resolution = if is_back { RefundResolution::Refunded } else { RefundResolution::Retry };
    let command = ResolveRefund {
        payment_id: payment.to_string(),
        refund_id: refund.to_string(),
        resolution: resolution.into(),
        actor: "ops".to_owned(),
        note: "looked at the provider".to_owned(),
    };
    let id = Uuid::new_v5(&refund, format!("{payment} {turn}").as_bytes());
    let reply = shop.send_as(id, &ResolveRefund::full_name(), command.encode_to_vec()).await;
    if is_back
        && reply.is_some_and(|reply| !events(&reply).is_empty())
        && let Some(note) = shop.notes().get_mut(&payment)
    {
        note.by_hand += cents;
    }
}
