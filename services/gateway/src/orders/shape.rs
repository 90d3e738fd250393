//! An order as it is shown: its state, what it holds, and its money by kind.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::events::OrderEvent;

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Money {
    /// Whole minor units, such as cents: a number of 64 bits, as a text.
    #[schema(example = "1250")]
    pub(crate) minor_units: String,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    pub(crate) currency: String,
}

/// An order, with all of its payments and refunds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Order {
    pub(crate) order_id: Uuid,
    /// The shop's own number of the order, if it has one.
    pub(crate) reference: Option<String>,
    /// The sender's own name for the customer.
    pub(crate) customer_id: String,
    /// pending, reserved, paid, expired, cancelled, rejected, refunding, partially_refunded or refunded. More may come.
    pub(crate) status: String,
    /// pending, authorised, capturing, paid, failed, cancelled, voided, refunding, partially_refunded or refunded. More may come.
    pub(crate) payment_status: String,
    /// pending, ready, cancelled or returned. More may come.
    pub(crate) fulfillment_status: String,
    /// 1, and one more at each reinstatement.
    pub(crate) attempt: i32,
    pub(crate) placed_at: String,
    /// Null: it is paid with late money, and waits for its holds only.
    pub(crate) expires_at: Option<String>,
    /// What happened to it last, for people.
    pub(crate) note: String,
    pub(crate) payment_method: String,
    pub(crate) late_payment_policy: String,
    /// Before any discount.
    pub(crate) total: Money,
    pub(crate) lines: Vec<Line>,
    pub(crate) shares: Option<Shares>,
    /// The coupon that it names. Null: none.
    pub(crate) coupon: Option<OrderCoupon>,
    pub(crate) holds: Holds,
    /// Whether a bank disputes one of its payments just now. The order stays what it is.
    pub(crate) disputed: bool,
    pub(crate) money: Sums,
    /// One of each attempt that got as far.
    pub(crate) payments: Vec<Payment>,
    pub(crate) refunds: Vec<Refund>,
    /// Those that are over, too.
    pub(crate) disputes: Vec<Dispute>,
    /// Events of the order's own stream: a number of 64 bits, as a text. It is also the ETag.
    pub(crate) version: String,
}

/// Pieces of a product.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    pub(crate) sku: String,
    /// A number of 64 bits, as a text.
    pub(crate) quantity: String,
    pub(crate) unit_price: Money,
}

/// Shares of a round.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Shares {
    pub(crate) round_id: Uuid,
    /// A number of 64 bits, as a text.
    pub(crate) count: String,
    pub(crate) unit_price: Money,
}

/// What a coupon does for an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderCoupon {
    pub(crate) coupon_code: String,
    /// What it takes off the total, as it was held last. Null: it was never held.
    pub(crate) discount: Option<Money>,
}

/// What the latest attempt holds: asked, held, committed, released or rejected. Null: it needs none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Holds {
    pub(crate) stock: Option<String>,
    pub(crate) shares: Option<String>,
    /// The use of a coupon.
    pub(crate) coupon: Option<String>,
    /// Whether the order is closed, and all that it held is given back.
    pub(crate) released: bool,
}

/// The money of all attempts, by what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sums {
    /// What the buyer is asked for now. Null: nothing.
    pub(crate) asked: Option<Money>,
    /// What the provider has set aside, to be taken or let go.
    pub(crate) authorised: Money,
    /// What came.
    pub(crate) captured: Money,
    /// Of that, what is on its way back.
    pub(crate) going_back: Money,
    /// And what went back.
    pub(crate) gone_back: Money,
    /// What disputes have taken and not given back: it is still among what came, and may be more than that. Below 0 while only what came
    /// back is known.
    pub(crate) charged_back: Money,
    /// What was to go back and does not: somebody must see to it.
    pub(crate) owed: Money,
}

/// One attempt's payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Payment {
    pub(crate) payment_id: Uuid,
    pub(crate) attempt: i32,
    /// unasked, requested, succeeded, failed or cancelled. More may come.
    pub(crate) status: String,
    pub(crate) amount: Option<Money>,
    pub(crate) provider: Option<String>,
    /// What the provider knows it by.
    pub(crate) provider_reference: Option<String>,
    /// The provider's page, where the buyer can pay now. Null: it is not open yet, or has run out, nobody is to pay any more, or the provider
    /// has none. `POST /v1/payments/{payment_id}/checkout` opens another where it has run out.
    pub(crate) checkout_url: Option<String>,
    /// Until when, if the provider keeps it open for a time only.
    pub(crate) checkout_ends_at: Option<String>,
}

/// A refund, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refund {
    pub(crate) refund_id: Uuid,
    pub(crate) order_id: Uuid,
    /// The shop's own number of the order, if it has one.
    pub(crate) reference: Option<String>,
    pub(crate) payment_id: Uuid,
    pub(crate) amount: Money,
    /// `REFUND_REASON_REQUESTED`; `REFUND_REASON_SECOND_CHARGE` of money that came twice, and goes back by itself.
    pub(crate) reason: String,
    /// Of the order: requested, refunded or abandoned.
    pub(crate) status: String,
    /// Of the payment: deferred, refunding, refunded, rejected, unknown (an operator decides) or reversed. Null: it has not come so far.
    pub(crate) step: Option<String>,
    /// Under how many keys it was sent to the provider: one, and one more each time an operator has it sent again.
    pub(crate) times_sent: Option<i32>,
    /// The latest of them, which is also what the provider has in the refund's metadata. Null: it was sent under none.
    pub(crate) idempotency_key: Option<String>,
    /// The call to the provider under that key. Null: none is to be made.
    pub(crate) call: Option<RefundCall>,
    /// After this an outcome that is not known counts as unknown.
    pub(crate) deadline: Option<String>,
    /// What the provider knows it by.
    pub(crate) provider_reference: Option<String>,
    /// What was said of it last, for people.
    pub(crate) last_word: Option<String>,
}

/// A call to the provider that is under way.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct RefundCall {
    /// How often it was tried.
    pub(crate) tries: i32,
    /// When it is tried again. While a try is on its way: when others take it for lost.
    pub(crate) next_try_at: String,
    /// What was heard at the last try that brought no answer that counts.
    pub(crate) last_heard: Option<String>,
    /// Who refuses how they are asked, so that somebody must see to it: a provider whose key was revoked. Null: nobody.
    pub(crate) stopped_by: Option<String>,
    pub(crate) stopped_since: Option<String>,
}

/// A refund, and all that happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefundStory {
    #[serde(flatten)]
    pub(crate) refund: Refund,
    /// What was asked, what was sent under which key and until when it counts, and what was heard: each with its time.
    pub(crate) events: Vec<OrderEvent>,
}

/// A charge that its buyer's bank disputes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dispute {
    /// The provider's own id of it.
    #[schema(example = "du_1")]
    pub(crate) dispute_id: String,
    pub(crate) payment_id: Uuid,
    /// The provider's own word for where it stands, such as `needs_response`. More may come.
    pub(crate) status: String,
    /// What that comes to: open, won, lost or ended.
    pub(crate) standing: String,
    /// The reason that the buyer gave, in the provider's word.
    pub(crate) reason: String,
    /// How much is disputed. It need not be what was paid.
    pub(crate) amount: Option<Money>,
    /// Until when the shop can answer, at the provider.
    pub(crate) due_by: Option<String>,
    /// Whether the provider refunds the payment meanwhile. If not, a refund is refused: `PAYMENT_DISPUTED`.
    pub(crate) refundable: bool,
    /// What it took.
    pub(crate) withdrawn: Option<Money>,
    /// What came back of that.
    pub(crate) reinstated: Option<Money>,
}
