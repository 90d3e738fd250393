//! Where an order, its payment and its refunds stand, in words that tests compare.

use anyhow::{Context, Result, bail};
use proto::{Message, Name};
use sqlx::Row;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{Order, TestFleet, code, events, eventually, is_accepted};

impl TestFleet {
    /// Sends a command under an id of its own, whatever was sent before. Short names of its events; fails if it is refused.
    pub async fn accepts<M: Message + Name>(&self, command: &M) -> Result<Vec<String>> {
        let reply = self.send_new(command).await?;
        if !is_accepted(&reply) {
            bail!("refused: {reply:?}");
        }
        Ok(events(&reply).into_iter().map(str::to_owned).collect())
    }

    /// The same of a command that is to be refused: its code.
    pub async fn refuses<M: Message + Name>(&self, command: &M) -> Result<String> {
        Ok(code(&self.send_new(command).await?).to_owned())
    }

    /// Places an order and waits until it is paid.
    pub async fn paid(&self, order: Order) -> Result<Order> {
        self.place(&order).await?;
        self.until_status(&order, "paid").await?;
        Ok(order)
    }

    /// Places an order and waits until the provider is asked for its money.
    pub async fn asked(&self, order: Order) -> Result<Order> {
        self.place(&order).await?;
        let query = "select count(*) from payments.payments where payment_id = $1 and status = 'requested'";
        self.until_of(query, order.payment_id(), 1).await?;
        Ok(order)
    }

    /// Asks for a refund of an order, and waits until payments has it in this status.
    pub async fn until_refund(&self, order: &Order, name: &str, status: &str) -> Result<()> {
        let (refund_id, payment_id) = (order.refund_id(name), order.payment_id());
        let what = format!("refund {name} of order {} is {status}", order.id);
        eventually(&what, || async {
            let mut connection = self.database().await?;
            let query = "select status from payments.refunds where payment_id = $1 and refund_id = $2";
            let found: Option<String> =
                sqlx::query_scalar(query).bind(payment_id).bind(refund_id).fetch_optional(&mut connection).await?;
            Ok(found.as_deref() == Some(status))
        })
        .await
    }

    /// Waits until a refund of so many euro cents is under way, whoever asked for it: its id.
    pub async fn sent_refund(&self, order: &Order, cents: i64) -> Result<String> {
        let query = "select refund_id::text from payments.refunds
            where payment_id = $1 and amount_minor = $2 and status = 'refunding'";
        let found = Mutex::new(None);
        eventually(&format!("a refund of {cents} of order {} is sent", order.id), || async {
            let mut connection = self.database().await?;
            let asked = sqlx::query_scalar(query).bind(order.payment_id()).bind(cents);
            let now: Option<String> = asked.fetch_optional(&mut connection).await?;
            let is_there = now.is_some();
            *found.lock().await = now;
            Ok(is_there)
        })
        .await?;
        found.into_inner().context("it was sent")
    }

    /// The time of all calls for refunds of an order is over: nobody waits for their answers any more.
    pub async fn end_calls(&self, order: &Order) -> Result<()> {
        let mut connection = self.database().await?;
        sqlx::query("update payments.effects set begun_at = now() - interval '1 hour' where starts_with(key, $1)")
            .bind(order.payment_id().to_string())
            .execute(&mut connection)
            .await?;
        let over = "select count(*) from payments.effects
            where starts_with(key, $1::uuid::text) and begun_at < now() - interval '30 minutes'";
        self.until_of(over, order.payment_id(), 0).await
    }

    /// Where an order stands: status, fulfilment, money back, and, if any, money that somebody must see to.
    pub async fn stands(&self, order: &Order) -> Result<String> {
        let mut connection = self.database().await?;
        let query =
            "select status, fulfillment_status, refunded_minor, owed_minor from orders.orders where order_id = $1";
        let row = sqlx::query(query).bind(order.id).fetch_one(&mut connection).await?;
        let (status, fulfilment): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (back, owed): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        let owed = if owed == 0 { String::new() } else { format!(", {owed} owed") };
        Ok(format!("{status}, {fulfilment}, {back} back{owed}"))
    }

    /// Waits until an order stands so.
    pub async fn until_stands(&self, order: &Order, wanted: &str) -> Result<()> {
        let what = format!("an order stands: {wanted}");
        if let Err(error) = eventually(&what, || async { Ok(self.stands(order).await? == wanted) }).await {
            let story = self.stream(&format!("order-{}", order.id)).await?;
            let money = self.stream(&format!("payment-{}", order.payment_id())).await?;
            bail!("{error:#}; it stands: {}; {story:?}; {money:?}", self.stands(order).await?);
        }
        Ok(())
    }

    /// One number that a query answers about an id.
    pub async fn number_of(&self, query: &'static str, id: Uuid) -> Result<i64> {
        let mut connection = self.database().await?;
        let number: Option<i64> = sqlx::query_scalar(query).bind(id).fetch_one(&mut connection).await?;
        Ok(number.unwrap_or(0))
    }

    /// Waits until a query about an id answers this number.
    pub async fn until_of(&self, query: &'static str, id: Uuid, wanted: i64) -> Result<()> {
        eventually(&format!("{query} ({id})"), || async { Ok(self.number_of(query, id).await? == wanted) }).await
    }

    /// Events of this name in the stream of an order's payment.
    pub async fn payment_events(&self, order: &Order, name: &str) -> Result<usize> {
        let story = self.stream(&format!("payment-{}", order.payment_id())).await?;
        Ok(story.iter().filter(|known| *known == name).count())
    }

    /// What the sandbox has paid out for an order, in minor units.
    pub async fn paid_out(&self, order: &Order) -> Result<i64> {
        let query = "select sum(amount_minor)::bigint from payments.sandbox_refunds
            where payment_id = $1 and status = 'refunded'";
        self.number_of(query, order.payment_id()).await
    }

    /// The reports about an order's payment that wait for somebody: why, and, if it names money, how much.
    pub async fn open_reports(&self, order: &Order) -> Result<Vec<String>> {
        let mut connection = self.database().await?;
        let query = "select concat_ws(' ', mismatch, amount_minor, nullif(currency, '')) from payments.reports
            where payment_id = $1 and standing = 'open' order by 1";
        Ok(sqlx::query_scalar(query).bind(order.payment_id()).fetch_all(&mut connection).await?)
    }

    /// Settles, finds all books right, and nothing buried.
    pub async fn ends_well(&self) -> Result<()> {
        self.settle_and_verify().await.context("it does not end well")?;
        let buried = "select (select count(*) from orders.dead_letters) + (select count(*) from inventory.dead_letters)
            + (select count(*) from rounds.dead_letters) + (select count(*) from payments.dead_letters)";
        let buried = self.number(buried).await?;
        if buried != 0 {
            bail!("{buried} dead letters");
        }
        Ok(())
    }
}
