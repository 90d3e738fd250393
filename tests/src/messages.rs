//! Commands as tests send them, and answers as tests read them.

use std::time::Duration;

use domain::{HoldKey, OrderId};
use proto::{
    common::v1::{CommandReply, Money, ProductQuantity, Remedy, command_reply::Outcome},
    orders::v1::{CancelOrder, LatePaymentPolicy, OrderLine, PlaceOrder, RequestRefund, SharePurchase},
    well_known,
};
use uuid::Uuid;

/// So many euro cents.
#[must_use]
pub fn money(cents: i64) -> Money {
    Money { minor_units: cents, currency: "EUR".to_owned() }
}

/// An order to be placed; 30 minutes to pay and a buyer who pays at once, unless told otherwise.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// The command that places it.
    pub place: PlaceOrder,
}

impl Order {
    /// An order of nothing yet. `number` makes its id, so that a test's orders are the same every time.
    #[must_use]
    pub fn new(number: u64) -> Self {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("order {number}").as_bytes());
        let place = PlaceOrder {
            order_id: id.to_string(),
            customer_id: format!("customer-{number}"),
            payment_method: "sandbox:succeed".to_owned(),
            ..PlaceOrder::default()
        };
        Self { id, place }
    }

    /// Pieces of a product at 10.00 EUR.
    #[must_use]
    pub fn line(self, sku: &str, quantity: i64) -> Self {
        self.line_at(sku, quantity, 1_000)
    }

    /// Pieces of a product at so many euro cents.
    #[must_use]
    pub fn line_at(mut self, sku: &str, quantity: i64, cents: i64) -> Self {
        self.place.lines.push(OrderLine { sku: sku.to_owned(), quantity, unit_price: Some(money(cents)) });
        self
    }

    /// Shares of a round at 5.00 EUR.
    #[must_use]
    pub fn shares(mut self, round: Uuid, count: i64) -> Self {
        self.place.shares = Some(SharePurchase { round_id: round.to_string(), count, unit_price: Some(money(500)) });
        self
    }

    /// How the buyer and the provider behave: the sandbox's script.
    #[must_use]
    pub fn pays(mut self, script: &str) -> Self {
        self.place.payment_method = script.to_owned();
        self
    }

    /// The shop's own number.
    #[must_use]
    pub fn referenced(mut self, reference: &str) -> Self {
        self.place.reference = reference.to_owned();
        self
    }

    /// Its buyer gets mail there.
    #[must_use]
    pub fn mailed_to(mut self, email: &str) -> Self {
        self.place.contact_email = email.to_owned();
        self
    }

    /// Names a coupon.
    #[must_use]
    pub fn coupon(mut self, code: &str) -> Self {
        self.place.coupon_code = code.to_owned();
        self
    }

    /// Placed by this customer.
    #[must_use]
    pub fn by(mut self, customer_id: &str) -> Self {
        self.place.customer_id = customer_id.to_owned();
        self
    }

    /// Time to pay.
    #[must_use]
    pub fn expires_after(mut self, time: Duration) -> Self {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.place.time_to_pay = Some(well_known::Duration { seconds, nanos: 0 });
        self
    }

    /// Hold again when the money comes late.
    #[must_use]
    pub fn reholds(mut self) -> Self {
        self.place.late_payment_policy = LatePaymentPolicy::Rehold.into();
        self
    }

    /// The payment of its first attempt.
    #[must_use]
    pub fn payment_id(&self) -> Uuid {
        HoldKey { order_id: OrderId(self.id), attempt: 1 }.payment_id().0
    }

    /// The id of one of its refunds, by a name that the test gives it.
    #[must_use]
    pub fn refund_id(&self, name: &str) -> Uuid {
        Uuid::new_v5(&self.id, name.as_bytes())
    }

    /// The command that cancels it.
    #[must_use]
    pub fn cancel(&self) -> CancelOrder {
        let (actor, note) = ("ops".to_owned(), "changed my mind".to_owned());
        CancelOrder { order_id: self.id.to_string(), actor, note, expected_version: 0 }
    }

    /// The command that asks for everything back. Its refund is named by the command's id.
    #[must_use]
    pub fn refund(&self) -> RequestRefund {
        RequestRefund {
            order_id: self.id.to_string(),
            actor: "ops".to_owned(),
            note: "broken".to_owned(),
            ..RequestRefund::default()
        }
    }

    /// The same, as a refund of this name.
    #[must_use]
    pub fn refund_as(&self, name: &str) -> RequestRefund {
        RequestRefund { refund_id: self.refund_id(name).to_string(), ..self.refund() }
    }
}

/// So many pieces of a product, to come back.
#[must_use]
pub fn pieces(sku: &str, quantity: i64) -> Vec<ProductQuantity> {
    vec![ProductQuantity { sku: sku.to_owned(), quantity }]
}

/// Whether a command was accepted.
#[must_use]
pub fn is_accepted(reply: &CommandReply) -> bool {
    matches!(reply.outcome, Some(Outcome::Accepted(_)))
}

/// The code of a rejection; `ACCEPTED` if there is none.
#[must_use]
pub fn code(reply: &CommandReply) -> &str {
    match &reply.outcome {
        Some(Outcome::Rejected(rejection)) => &rejection.code,
        Some(Outcome::Accepted(_)) => "ACCEPTED",
        None => "NO_OUTCOME",
    }
}

/// Short names of the events that a command caused.
#[must_use]
pub fn events(reply: &CommandReply) -> Vec<&str> {
    match &reply.outcome {
        Some(Outcome::Accepted(accepted)) => accepted.events.iter().map(|name| proto::short_name(name)).collect(),
        Some(Outcome::Rejected(_)) | None => Vec::new(),
    }
}

/// What the sender of a refused command can do.
#[must_use]
pub fn remedy(reply: &CommandReply) -> Remedy {
    match &reply.outcome {
        Some(Outcome::Rejected(rejection)) => rejection.remedy(),
        Some(Outcome::Accepted(_)) | None => Remedy::Unspecified,
    }
}

/// The reason of a rejection; empty if there is none.
#[must_use]
pub fn reason(reply: &CommandReply) -> &str {
    match &reply.outcome {
        Some(Outcome::Rejected(rejection)) => &rejection.reason,
        Some(Outcome::Accepted(_)) | None => "",
    }
}
