//! Columns of orders that follow from the rest of the row. They are written for others to read, and never read back.

use domain::OrderId;
use runtime::service::{self, Derived, Differing};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::refunding_minor;
use crate::order::{Order, State};

const LOAD: &str =
    "select order_id, refunding_minor, owed_minor, discount_minor from orders.orders where order_id = any($1)";

/// Where they do not follow from these orders.
pub(crate) async fn differing(connection: &mut PgConnection, state: &State) -> Result<Differing, sqlx::Error> {
    let ids: Vec<Uuid> = state.orders.iter().map(|(order_id, _)| order_id.0).collect();
    if ids.is_empty() {
        return Ok(Differing::new());
    }
    let mut found = Differing::new();
    for row in sqlx::query(LOAD).bind(ids).fetch_all(connection).await? {
        let order_id = OrderId(row.try_get("order_id")?);
        let Some(order) = state.orders.get(&order_id) else { continue };
        let there = |column| row.try_get::<i64, _>(column);
        let columns: [Derived; 3] = [
            ("refunding_minor", there("refunding_minor")?, refunding_minor(order)),
            ("owed_minor", there("owed_minor")?, order.owed_minor()),
            ("discount_minor", there("discount_minor")?, discount_minor(order)),
        ];
        if let Some(what) = service::differing(&columns) {
            found.insert(format!("order-{order_id}"), what);
        }
    }
    Ok(found)
}

/// Also what an order without a discount has there.
fn discount_minor(order: &Order) -> i64 {
    order.discount.as_ref().map_or(0, |discount| discount.amount.minor_units)
}
