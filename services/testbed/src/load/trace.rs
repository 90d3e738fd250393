//! `holdfast load --trace`: real orders and cancellations from a CSV file, through commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use audit::quiescence::is_passing;
use futures::{StreamExt, TryStreamExt, stream};
use platform::clock;
use proto::{
    Message, Name,
    common::v1::{CommandReply, Money, ProductQuantity, command_reply::Outcome},
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1 as wire,
};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use super::{progress::ProgressBars, target_fleet::TargetFleet};

pub mod book;
mod cell;
mod header;
mod records;
pub mod refusal;
mod report;
pub mod row;

use book::{Book, Return};
pub use report::Report;

/// The currency of the prices.
const CURRENCY: &str = "GBP";

/// Commands under way at once. An order may have a thousand lines.
const COMMANDS_MAX: usize = 64;

/// Ids asked for at once.
const CHUNK: usize = 1_000;

/// How often to look what became of orders and refunds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long to wait without seeing anything happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pieces of each product that arrive before the first order.
pub const OPENING: i64 = 100_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The trace.
    pub file: PathBuf,
    /// Pieces of each product that arrive before the first order.
    pub opening: i64,
    /// Where progress shows.
    pub progress: ProgressBars,
}

/// Reads a trace.
pub fn read(file: &Path) -> Result<Book> {
    let opened = File::open(file).with_context(|| format!("opening the trace {}", file.display()))?;
    Book::read(BufReader::new(opened)).with_context(|| format!("reading the trace {}", file.display()))
}

/// Plays a trace. Playing it again on the same fleet changes nothing: every id derives from the trace's own numbers.
pub async fn play(mut book: Book, options: &Options, target: &TargetFleet) -> Result<Report> {
    let begun = Instant::now();
    let player = Player { target, progress: &options.progress };
    player.stock_up(&book, options.opening).await?;
    let refused = player.place(&book).await?;
    let ends = player.orders_end(&book, &refused).await?;
    let mut paid = BTreeSet::new();
    for index in 0..book.invoices.len() {
        match refused.get(&index).or_else(|| ends.get(&index)) {
            Some(code) => book.refuse_order(index, code),
            None => {
                paid.insert(index);
            }
        }
    }
    let returns = book.returns(&paid);
    let failed = player.refund(&book, &returns).await?;
    for (index, code) in &failed {
        if let Some(back) = returns.get(*index) {
            book.refuse_return(back, code);
        }
    }
    let closing = player.closing_stock(&book).await?;
    let lasted = begun.elapsed();
    let returned: Vec<&Return> =
        returns.iter().enumerate().filter(|(index, _)| !failed.contains_key(index)).map(|(_, back)| back).collect();
    Report::new(&book, &paid, &returned, closing, lasted)
}

/// An id that derives from the trace's own numbers.
fn id(kind: &str, of: &str) -> Uuid {
    let space = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"holdfast load --trace");
    Uuid::new_v5(&space, format!("{kind} {of}").as_bytes())
}

fn order_id(number: &str) -> Uuid {
    id("order", number)
}

fn refund_id(book: &Book, back: &Return) -> Uuid {
    let order = book.invoices.get(back.invoice).map_or("", |invoice| invoice.number.as_str());
    id("refund", &format!("{} {order}", back.cancellation))
}

fn place_order(invoice: &book::Invoice) -> wire::PlaceOrder {
    let line = |line: &book::InvoiceLine| wire::OrderLine {
        sku: line.sku.as_str().to_owned(),
        quantity: line.quantity,
        unit_price: Some(Money { minor_units: line.price_minor, currency: CURRENCY.to_owned() }),
    };
    wire::PlaceOrder {
        order_id: order_id(&invoice.number).to_string(),
        customer_id: invoice.customer.clone().unwrap_or_else(|| format!("guest-{}", invoice.number)),
        lines: invoice.lines.iter().map(line).collect(),
        payment_method: "sandbox:succeed".to_owned(),
        ..Default::default()
    }
}

struct Player<'a> {
    target: &'a TargetFleet,
    progress: &'a ProgressBars,
}

impl Player<'_> {
    /// Registers every product that was sold, and receives its opening stock.
    async fn stock_up(&self, book: &Book, opening: i64) -> Result<()> {
        self.other_opening(book, opening).await?;
        let bar = self.progress.bar("products", u64::try_from(book.products.len())?);
        let products = stream::iter(&book.products).map(|(sku, name)| {
            let bar = bar.clone();
            async move {
                let sku = sku.as_str().to_owned();
                let register = RegisterProduct { sku: sku.clone(), name: name.clone(), actor: String::new() };
                // Another trace may know it by another name; it is known then, and that is enough.
                let refusal = self.send(&register).await?;
                if let Some(code) = refusal.filter(|code| code != "PRODUCT_EXISTS") {
                    bail!("product {sku} could not be registered: {code}");
                }
                let receive = ReceiveStock {
                    sku: sku.clone(),
                    quantity: opening,
                    reference: "opening".to_owned(),
                    actor: String::new(),
                };
                if let Some(code) = self.send(&receive).await? {
                    bail!("product {sku} could not receive {opening} pieces: {code}");
                }
                bar.inc(1);
                Ok(())
            }
        });
        products.buffer_unordered(COMMANDS_MAX).try_collect::<()>().await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Refuses to begin on a fleet where the products have received something else: the closing stock would say nothing.
    async fn other_opening(&self, book: &Book, opening: i64) -> Result<()> {
        let skus: Vec<&str> = book.products.keys().map(domain::Sku::as_str).collect();
        let other: Option<(String, i64)> = sqlx::query_as(
            "select sku, received from inventory.stock where sku = any($1) and received not in (0, $2) order by sku limit 1",
        )
        .bind(skus)
        .bind(opening)
        .fetch_optional(&self.target.pool)
        .await
        .context("looking whether the products are known")?;
        if let Some((sku, received)) = other {
            bail!(
                "product {sku} has received {received} pieces on this fleet already, not {opening}: give --opening {received} \
                 to play the same trace again, or play this one on a fleet of its own"
            );
        }
        Ok(())
    }

    /// Places every order. Those that were refused at once, with the code.
    async fn place(&self, book: &Book) -> Result<BTreeMap<usize, String>> {
        let bar = self.progress.bar("orders placed", u64::try_from(book.invoices.len())?);
        let placed = stream::iter(book.invoices.iter().enumerate()).map(|(index, invoice)| {
            let bar = bar.clone();
            async move {
                let refusal = self.send(&place_order(invoice)).await?;
                bar.inc(1);
                Ok::<_, anyhow::Error>(refusal.map(|code| (index, code)))
            }
        });
        let refused = placed.buffer_unordered(COMMANDS_MAX).try_filter_map(|refusal| async { Ok(refusal) });
        let refused = refused.try_collect().await?;
        bar.finish_and_clear();
        Ok(refused)
    }

    /// Waits until every order is paid or closed. Those that are closed, with the code.
    async fn orders_end(&self, book: &Book, refused: &BTreeMap<usize, String>) -> Result<BTreeMap<usize, String>> {
        let placed = book.invoices.iter().enumerate().filter(|(index, _)| !refused.contains_key(index));
        let mut waiting: BTreeMap<Uuid, usize> =
            placed.map(|(index, invoice)| (order_id(&invoice.number), index)).collect();
        let bar = self.progress.bar("orders paid", u64::try_from(waiting.len())?);
        let mut closed = BTreeMap::new();
        let mut patience = Patience::new("orders are not paid");
        while !waiting.is_empty() {
            let ids: Vec<Uuid> = waiting.keys().take(CHUNK).copied().collect();
            let ended: Vec<(Uuid, String)> = patience.tolerate(
                sqlx::query_as(
                    "select order_id, status from orders.orders
                     where order_id = any($1) and status not in ('pending', 'reserved')",
                )
                .bind(ids)
                .fetch_all(&self.target.pool)
                .await,
            )?;
            for (order, status) in &ended {
                let Some(index) = waiting.remove(order) else { continue };
                match status.as_str() {
                    "rejected" => {
                        closed.insert(index, rejection_code(&self.target.pool, *order).await?);
                    }
                    "expired" | "cancelled" => {
                        closed.insert(index, status.to_uppercase());
                    }
                    _ => {}
                }
                bar.inc(1);
            }
            patience.wait(ended.len(), waiting.len()).await?;
        }
        bar.finish_and_clear();
        Ok(closed)
    }

    /// Asks for the refunds, and waits until each has ended. Those that came to nothing, with the code.
    async fn refund(&self, book: &Book, returns: &[Return]) -> Result<BTreeMap<usize, String>> {
        let asked = stream::iter(returns.iter().enumerate()).map(|(index, back)| async move {
            let refund_id = refund_id(book, back);
            let order = book.invoices.get(back.invoice).map_or("", |invoice| invoice.number.as_str());
            let pieces = |(sku, quantity): (&domain::Sku, &i64)| ProductQuantity {
                sku: sku.as_str().to_owned(),
                quantity: *quantity,
            };
            let request = wire::RequestRefund {
                order_id: order_id(order).to_string(),
                refund_id: refund_id.to_string(),
                lines: back.lines.iter().map(pieces).collect(),
                actor: "load".to_owned(),
                note: format!("cancellation {}", back.cancellation),
                ..Default::default()
            };
            let refusal = self.send(&request).await?;
            Ok::<_, anyhow::Error>(refusal.map(|code| (index, code)))
        });
        let mut failed: BTreeMap<usize, String> =
            asked.buffer_unordered(COMMANDS_MAX).try_filter_map(|refusal| async { Ok(refusal) }).try_collect().await?;
        let under_way = returns.iter().enumerate().filter(|(index, _)| !failed.contains_key(index));
        let waiting = under_way.map(|(index, back)| (refund_id(book, back), (index, back)));
        let failed_later = self.refunds_end(book, waiting.collect()).await?;
        failed.extend(failed_later);
        Ok(failed)
    }

    /// Waits until refunds have ended, their pieces back in the stock.
    async fn refunds_end(
        &self,
        book: &Book,
        mut waiting: BTreeMap<Uuid, (usize, &Return)>,
    ) -> Result<BTreeMap<usize, String>> {
        let bar = self.progress.bar("refunds", u64::try_from(waiting.len())?);
        let mut failed = BTreeMap::new();
        let mut patience = Patience::new("refunds have not ended");
        while !waiting.is_empty() {
            let batch = waiting.iter().take(CHUNK);
            let (refunds, orders): (Vec<Uuid>, Vec<Uuid>) = batch
                .filter_map(|(refund, (_, back))| Some((*refund, order_id(&book.invoices.get(back.invoice)?.number))))
                .unzip();
            let ended: Vec<(Uuid, bool)> = patience.tolerate(
                sqlx::query_as(
                    "select asked.refund_id, o.refunds -> asked.refund_id::text ->> 'status' = 'refunded'
                     from unnest($1::uuid[], $2::uuid[]) as asked (refund_id, order_id)
                     join orders.orders o using (order_id)
                     left join inventory.holds h on h.order_id = o.order_id and h.attempt = o.attempt
                     where o.refunds -> asked.refund_id::text ->> 'status' = 'abandoned'
                        or o.refunds -> asked.refund_id::text ->> 'status' = 'refunded'
                            and h.returns ? asked.refund_id::text",
                )
                .bind(refunds)
                .bind(orders)
                .fetch_all(&self.target.pool)
                .await,
            )?;
            for (refund, is_refunded) in &ended {
                let Some((index, _)) = waiting.remove(refund) else { continue };
                if !is_refunded {
                    failed.insert(index, "ABANDONED".to_owned());
                }
                bar.inc(1);
            }
            patience.wait(ended.len(), waiting.len()).await?;
        }
        bar.finish_and_clear();
        Ok(failed)
    }

    /// What is in stock now of every product that was sold.
    async fn closing_stock(&self, book: &Book) -> Result<Vec<(String, i64)>> {
        let skus: Vec<&str> = book.products.keys().map(domain::Sku::as_str).collect();
        sqlx::query_as("select sku, on_hand from inventory.stock where sku = any($1) order by sku")
            .bind(skus)
            .fetch_all(&self.target.pool)
            .await
            .context("reading the closing stock")
    }

    /// Sends a command; the code of its refusal. Its id is derived from all that it says, so that the same one again changes
    /// nothing, and another one is judged by what it says.
    async fn send<M: Message + Name>(&self, command: &M) -> Result<Option<String>> {
        let id = Uuid::new_v5(&id("command", M::NAME), &command.encode_to_vec());
        let CommandReply { outcome, .. } = self.target.client.send(id, command).await?;
        match outcome {
            Some(Outcome::Accepted(_)) => Ok(None),
            Some(Outcome::Rejected(rejection)) => Ok(Some(rejection.code)),
            None => bail!("the answer to {} {id} says nothing", M::NAME),
        }
    }
}

/// Waits, as long as something happens now and then.
struct Patience {
    what: &'static str,
    seen: Instant,
}

impl Patience {
    fn new(what: &'static str) -> Self {
        Self { what, seen: Instant::now() }
    }

    /// What was read; nothing if Postgres is away for a moment.
    fn tolerate<T>(&self, read: Result<Vec<T>, sqlx::Error>) -> Result<Vec<T>> {
        let read = read.context("looking what became of orders");
        match read {
            Err(error) if is_passing(&error) && self.seen.elapsed() < PATIENCE => Ok(Vec::new()),
            read => read,
        }
    }

    async fn wait(&mut self, happened: usize, left: usize) -> Result<()> {
        if happened > 0 {
            self.seen = Instant::now();
        } else if self.seen.elapsed() >= PATIENCE {
            bail!("{left} {}, and none has been for {} s (holdfast status)", self.what, PATIENCE.as_secs());
        }
        if left > 0 && happened < CHUNK {
            clock::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

async fn rejection_code(pool: &PgPool, order: Uuid) -> Result<String> {
    let data: Vec<u8> =
        sqlx::query_scalar("select data from log.events where stream = $1 and type = $2 order by version desc limit 1")
            .bind(format!("order-{order}"))
            .bind(wire::OrderRejected::full_name())
            .fetch_one(pool)
            .await
            .context("reading why an order was rejected")?;
    Ok(wire::OrderRejected::decode(data.as_slice())?.rejection.unwrap_or_default().code)
}
