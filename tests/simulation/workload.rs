//! What people do: shops that sell, buyers who pay or do not, operators who intervene. All of it follows from the seed.

use std::time::Duration;

use domain::{PaymentId, RefundId, Timestamp};
use holdfast_tests::second_thought;
use proto::{
    Name,
    common::v1::{Money, ProductQuantity},
    inventory::v1::{AdjustStock, ReceiveStock, RegisterProduct},
    orders::v1::{CancelOrder, LatePaymentPolicy, OrderLine, PlaceOrder, ReinstateOrder, RequestRefund, SharePurchase},
    payments::v1::{
        CloseCoupon, CouponOffer, OpenCoupon, RefundResolution, ReportResolution, RequestCheckout,
        ResolveProviderReport, ResolveRefund, TopUpWallet, WithdrawFromWallet,
    },
    rounds::v1::{CancelRound, CloseRound, OpenRound},
    well_known,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use uuid::Uuid;

/// How long people begin new things.
pub(crate) const DAY: Duration = Duration::from_secs(240);

/// A command that somebody sends until it is answered.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) at: Timestamp,
    pub(crate) id: Uuid,
    pub(crate) message_type: String,
    pub(crate) data: Vec<u8>,
}

impl Intent {
    pub(crate) fn new<M: proto::Message + Name>(at: Timestamp, id: Uuid, command: &M) -> Self {
        Self { at, id, message_type: M::full_name(), data: command.encode_to_vec() }
    }

    /// The service that takes it.
    pub(crate) fn to(&self) -> Option<&str> {
        proto::owner(&self.message_type)
    }
}

/// Of a currency with three digits behind the point so many tens: Stripe takes no less.
fn money(currency: &str, minor_units: i64) -> Option<Money> {
    let minor_units = if currency == "KWD" { 10 * minor_units } else { minor_units };
    Some(Money { minor_units, currency: currency.to_owned() })
}

fn euros(cents: i64) -> Option<Money> {
    money("EUR", cents)
}

/// What people pay in: of two digits behind the point, of none, and of three.
const CURRENCIES: [&str; 5] = ["EUR", "JPY", "KWD", "ISK", "UGX"];

/// What is paid in which currency: everything in euros, or each thing in one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Till {
    Euros,
    Mixed,
}

impl Till {
    /// What the thing with this name is sold in; it follows from the name, so that nobody has to remember it.
    pub(crate) fn currency(self, name: &str) -> &'static str {
        let digit = name.chars().last().and_then(|digit| digit.to_digit(16)).unwrap_or_default();
        let mixed = usize::try_from(digit).ok().and_then(|digit| CURRENCIES.get(digit % CURRENCIES.len()));
        mixed.filter(|_| self == Self::Mixed).copied().unwrap_or("EUR")
    }

    /// The order with all its prices in one currency: that of its round, its coupon or its wallet, or else one of its own.
    fn price(self, order: PlaceOrder) -> PlaceOrder {
        // Few want with a coupon what it is not good for.
        let is_good_for = |shares: &SharePurchase| self.currency(&shares.round_id) == self.currency(&order.coupon_code);
        let keeps_all = order.coupon_code.is_empty() || order.lines.is_empty() || order.order_id.starts_with('0');
        let shares = order.shares.clone().filter(|shares| keeps_all || is_good_for(shares));
        let order = PlaceOrder { shares, ..order };
        let is_from_wallet = order.payment_method == "wallet";
        let of = match &order.shares {
            Some(shares) => &shares.round_id,
            None if !order.coupon_code.is_empty() => &order.coupon_code,
            None if is_from_wallet => &order.customer_id,
            None => &order.order_id,
        };
        let currency = self.currency(of);
        let priced = |price: Option<Money>| price.and_then(|price| money(currency, price.minor_units));
        let line = |line: OrderLine| OrderLine { unit_price: priced(line.unit_price), ..line };
        let lines = order.lines.into_iter().map(line).collect();
        let shares = order.shares.map(|shares| SharePurchase { unit_price: priced(shares.unit_price), ..shares });
        PlaceOrder { lines, shares, ..order }
    }
}

fn seconds(seconds: i64) -> Option<well_known::Duration> {
    Some(well_known::Duration { seconds, nanos: 0 })
}

pub(crate) fn uuid(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

fn moment(rng: &mut StdRng, from: Timestamp, within: Duration) -> Timestamp {
    from + Duration::from_micros(rng.random_range(0..u64::try_from(within.as_micros()).unwrap_or(1)))
}

/// A day of a shop with so many orders.
pub(crate) fn day(rng: &mut StdRng, begin: Timestamp, orders: usize, till: Till) -> Vec<Intent> {
    // The fewer products, the more everybody wants the same.
    let products = rng.random_range(1..=6);
    let rounds: Vec<Uuid> = (0..rng.random_range(1..=3)).map(|_| uuid(rng)).collect();
    let mut intents = Vec::new();
    // Drawn apart, so that a day without coupons is what it was before there were any.
    let mut apart = rng.clone();
    let coupons = coupons(&mut apart, begin, orders, till, &mut intents);
    // Those of wallets, too.
    let mut of_wallets = StdRng::seed_from_u64(rng.clone().random());
    let has_wallets = wallets(&mut of_wallets, begin, orders, till, &mut intents);
    for product in 0..products {
        stock(rng, begin, product, orders, &mut intents);
    }
    for round in &rounds {
        round_of(rng, begin, *round, orders, till, &mut intents);
    }
    for _ in 0..orders {
        let order = by_stripe(with_coupon(&mut apart, &coupons, order(rng, products, &rounds)));
        let order = till.price(if has_wallets { from_wallet(&mut of_wallets, order) } else { order });
        let placed = moment(rng, begin, DAY);
        intents.push(Intent::new(placed, uuid(rng), &order));
        for _ in 0..rng.random_range(0..3) {
            let at = moment(rng, placed, DAY);
            let id = uuid(rng);
            let (message_type, data) = second_thought(rng, &order);
            intents.push(Intent { at, id, message_type, data });
        }
        if rng.random_ratio(1, 30) {
            let (actor, note) = ("buyer".to_owned(), "in a hurry".to_owned());
            let cancel = CancelOrder { order_id: order.order_id, actor, note, expected_version: 0 };
            intents.push(Intent::new(moment(rng, begin, placed.since(begin) + DAY / 240), uuid(rng), &cancel));
        }
    }
    for _ in 0..orders / 20 {
        let id = intents.choose(rng).map_or_else(Uuid::nil, |intent| intent.id);
        same_id(rng, begin, id, &mut intents);
    }
    intents
}

/// Somebody has used this id before, for something else, perhaps with another service: both refuse what they cannot do.
fn same_id(rng: &mut StdRng, begin: Timestamp, id: Uuid, intents: &mut Vec<Intent>) {
    let nobody = |rng: &mut StdRng| uuid(rng).to_string();
    let (actor, note) = ("buyer".to_owned(), "changed my mind".to_owned());
    for _ in 0..rng.random_range(1..=3) {
        let at = moment(rng, begin, DAY);
        intents.push(match rng.random_range(0..4) {
            0 => {
                let order_id = nobody(rng);
                Intent::new(
                    at,
                    id,
                    &CancelOrder { order_id, actor: actor.clone(), note: note.clone(), expected_version: 0 },
                )
            }
            1 => {
                let sku = "P-unknown".to_owned();
                Intent::new(at, id, &ReceiveStock { sku, quantity: 1, reference: String::new(), actor: String::new() })
            }
            2 => {
                let round_id = nobody(rng);
                Intent::new(at, id, &CloseRound { round_id, actor: actor.clone(), note: note.clone() })
            }
            _ => {
                let (payment_id, provider_event_id) = (PaymentId::parse(&nobody(rng)), nobody(rng));
                let Ok(payment_id) = payment_id else { continue };
                resolve_report(at, id, payment_id, &provider_event_id, ReportResolution::Undone)
            }
        });
    }
}

fn stock(rng: &mut StdRng, begin: Timestamp, product: usize, orders: usize, intents: &mut Vec<Intent>) {
    let sku = format!("P-{product}");
    let register = RegisterProduct { sku: sku.clone(), name: format!("Product {product}"), actor: String::new() };
    intents.push(Intent::new(begin, uuid(rng), &register));
    let most = i64::try_from(orders).unwrap_or(1).max(2);
    for _ in 0..2 {
        let receive = ReceiveStock {
            sku: sku.clone(),
            quantity: rng.random_range(1..=most),
            reference: String::new(),
            actor: String::new(),
        };
        intents.push(Intent::new(moment(rng, begin, DAY / 4), uuid(rng), &receive));
    }
    let delta = if rng.random_bool(0.5) { 3 } else { -2 };
    let adjust = AdjustStock { sku, delta, actor: "ops".to_owned(), reason: "counted".to_owned() };
    intents.push(Intent::new(moment(rng, begin, DAY), uuid(rng), &adjust));
}

/// Coupons of every kind, on every other day: their codes.
fn coupons(rng: &mut StdRng, begin: Timestamp, orders: usize, till: Till, intents: &mut Vec<Intent>) -> Vec<String> {
    let most = i64::try_from(orders).unwrap_or(1).max(4);
    let count = if rng.random_bool(0.5) { rng.random_range(1..=4) } else { 0 };
    for coupon in 0..count {
        let coupon_code = format!("C-{coupon}");
        let limit = |rng: &mut StdRng, most: i64| if rng.random_bool(0.6) { rng.random_range(1..=most) } else { 0 };
        let currency = till.currency(&coupon_code);
        let amount =
            |rng: &mut StdRng, most: i64| money(currency, rng.random_range(1..=most)).filter(|_| rng.random_bool(0.4));
        let (basis_points, fixed) = match rng.random_range(0..4) {
            // It leaves nothing to pay.
            0 => (10_000, None),
            1 => (0, money(currency, rng.random_range(1..3_000))),
            _ => (rng.random_range(1..10_000), None),
        };
        let offer = CouponOffer {
            basis_points,
            fixed,
            currency: currency.to_owned(),
            discount_max: amount(rng, 1_500),
            spend_min: amount(rng, 2_000),
            valid_from: rng.random_bool(0.2).then(|| moment(rng, begin, DAY / 4).to_wire()),
            valid_until: rng.random_bool(0.3).then(|| (moment(rng, begin, DAY) + DAY / 2).to_wire()),
            uses_max: limit(rng, most / 4),
            uses_per_customer_max: limit(rng, 3),
            skus: if rng.random_bool(0.3) { vec!["P-0".to_owned()] } else { vec![] },
        };
        let open = OpenCoupon { coupon_code: coupon_code.clone(), offer: Some(offer), actor: String::new() };
        intents.push(Intent::new(begin, uuid(rng), &open));
        if rng.random_bool(0.3) {
            let (actor, note) = ("ops".to_owned(), "enough".to_owned());
            let close = CloseCoupon { coupon_code, actor, note };
            intents.push(Intent::new(moment(rng, begin, DAY), uuid(rng), &close));
        }
    }
    (0..count).map(|coupon| format!("C-{coupon}")).collect()
}

/// Money that customers put into their wallets and take out again, on every other day. Whether there is any.
fn wallets(rng: &mut StdRng, begin: Timestamp, orders: usize, till: Till, intents: &mut Vec<Intent>) -> bool {
    if rng.random_bool(0.5) {
        return false;
    }
    let most = i64::try_from(orders).unwrap_or(1) * 300 + 2_000;
    for customer in 0..5 {
        let customer_id = format!("customer-{customer}");
        let currency = till.currency(&customer_id);
        for _ in 0..rng.random_range(0..4) {
            let is_other = rng.random_ratio(1, 20);
            let amount = if is_other { money("USD", 500) } else { money(currency, rng.random_range(1..most)) };
            let (customer_id, actor, note) = (customer_id.clone(), "till".to_owned(), "cash".to_owned());
            let id = uuid(rng);
            let top_up = TopUpWallet { customer_id, amount, actor, note };
            intents.push(Intent::new(moment(rng, begin, DAY), id, &top_up));
        }
        for _ in 0..rng.random_range(0..3) {
            let amount = money(currency, rng.random_range(1..most));
            let (customer_id, actor, note) = (customer_id.clone(), "till".to_owned(), "asked for it".to_owned());
            let id = uuid(rng);
            let withdraw = WithdrawFromWallet { customer_id, amount, actor, note };
            intents.push(Intent::new(moment(rng, begin, DAY), id, &withdraw));
        }
    }
    true
}

/// The order as it is, or paid through Stripe: every fourth of those that the sandbox has a page for.
fn by_stripe(order: PlaceOrder) -> PlaceOrder {
    let is_one = order.order_id.starts_with(['0', '1', '2', '3']) && !order.payment_method.contains("refuse");
    match order.payment_method.strip_prefix("sandbox") {
        Some(script) if is_one => PlaceOrder { payment_method: format!("stripe{script}"), ..order },
        Some(_) | None => order,
    }
}

/// The order as it is, or paid from a wallet: nearly always the customer's own.
fn from_wallet(rng: &mut StdRng, order: PlaceOrder) -> PlaceOrder {
    if rng.random_bool(0.6) {
        return order;
    }
    let customer_id = format!("customer-{}", rng.random_range(0..5));
    let payment_method = if rng.random_ratio(1, 20) { "wallet:somebody" } else { "wallet" }.to_owned();
    PlaceOrder { customer_id, payment_method, ..order }
}

/// The order as it is, or with a coupon: of the day, or one that nobody knows.
fn with_coupon(rng: &mut StdRng, coupons: &[String], order: PlaceOrder) -> PlaceOrder {
    let known = coupons.choose(rng).filter(|_| rng.random_bool(0.6)).map(|code| code.to_lowercase());
    let Some(code) = known else { return order };
    let coupon_code = if rng.random_ratio(1, 40) { "NOBODYS".to_owned() } else { code };
    PlaceOrder { coupon_code, customer_id: format!("customer-{}", rng.random_range(0..5)), ..order }
}

fn round_of(rng: &mut StdRng, begin: Timestamp, round: Uuid, orders: usize, till: Till, intents: &mut Vec<Intent>) {
    let most = i64::try_from(orders).unwrap_or(1).max(2);
    let open = OpenRound {
        round_id: round.to_string(),
        prize: "bicycle".to_owned(),
        // Some are soon sold out, some perhaps, some never.
        total_shares: match rng.random_range(0..10) {
            0..3 => rng.random_range(1..=4),
            3..6 => rng.random_range(1..=most) / 2 + 1,
            _ => 500,
        },
        share_price: money(till.currency(&round.to_string()), 500),
        closes_at: Some((begin + DAY + Duration::from_secs(rng.random_range(0..600))).to_wire()),
        actor: String::new(),
    };
    intents.push(Intent::new(begin, uuid(rng), &open));
    let (round_id, actor, note) = (round.to_string(), "ops".to_owned(), "enough".to_owned());
    let at = moment(rng, begin, DAY) + Duration::from_secs(30);
    match rng.random_range(0..3) {
        0 => intents.push(Intent::new(at, uuid(rng), &CancelRound { round_id, actor, note })),
        1 => intents.push(Intent::new(at, uuid(rng), &CloseRound { round_id, actor, note })),
        _ => {}
    }
}

/// A round is sold out: some of its buyers give their shares back, before or after its closing time.
pub(crate) fn gives_back(rng: &mut StdRng, at: Timestamp, buyers: Vec<String>) -> Vec<Intent> {
    let some = rng.random_range(0..=2);
    let back = buyers.into_iter().filter(|_| rng.random_bool(0.5)).take(some).collect::<Vec<_>>();
    let mut intents = Vec::new();
    for order_id in back {
        let (actor, note) = ("buyer".to_owned(), "changed my mind".to_owned());
        let refund = RequestRefund { order_id, return_shares: true, actor, note, ..Default::default() };
        // Soon, or in the days after.
        let within = if rng.random_bool(0.7) { DAY / 4 } else { 4 * DAY };
        let at = moment(rng, at, within);
        // Two people may ask for the same.
        for _ in 0..rng.random_range(1..=2) {
            intents.push(Intent::new(at, uuid(rng), &refund));
        }
    }
    intents
}

/// A round is no longer sold out: others want what came back, and now and then an operator has had enough of it.
pub(crate) fn buys_again(rng: &mut StdRng, at: Timestamp, round_id: &str, till: Till) -> Vec<Intent> {
    let mut intents = Vec::new();
    for _ in 0..rng.random_range(0..3) {
        let place = PlaceOrder { lines: vec![], ..order(rng, 1, &[]) };
        let shares =
            SharePurchase { round_id: round_id.to_owned(), count: rng.random_range(1..3), unit_price: euros(500) };
        let order = till.price(PlaceOrder { shares: Some(shares), ..place });
        intents.push(Intent::new(moment(rng, at, DAY / 4), uuid(rng), &order));
    }
    if rng.random_ratio(1, 4) {
        let (round_id, actor, note) = (round_id.to_owned(), "ops".to_owned(), "enough".to_owned());
        intents.push(Intent::new(moment(rng, at, DAY / 4), uuid(rng), &CloseRound { round_id, actor, note }));
    }
    intents
}

fn order(rng: &mut StdRng, products: usize, rounds: &[Uuid]) -> PlaceOrder {
    let line = |rng: &mut StdRng| {
        // One product in a while is not known to anybody.
        let product = if rng.random_ratio(1, 40) { products } else { rng.random_range(0..products) };
        let unit_price = euros(rng.random_range(1..2_000));
        OrderLine { sku: format!("P-{product}"), quantity: rng.random_range(1..4), unit_price }
    };
    let lines: Vec<OrderLine> = (0..rng.random_range(0..4)).map(|_| line(rng)).collect();
    let wants_shares = lines.is_empty() || rng.random_bool(0.5);
    let shares = wants_shares.then(|| SharePurchase {
        round_id: rounds.choose(rng).map(Uuid::to_string).unwrap_or_default(),
        count: rng.random_range(1..3),
        unit_price: euros(500),
    });
    let scripts = [
        "sandbox:succeed",
        "sandbox:succeed",
        "sandbox:succeed",
        "sandbox:succeed,after=4s",
        "sandbox:succeed,after=30s",
        "sandbox:decline,after=1s",
        "sandbox:never",
        "sandbox:late,after=2s",
        // At the very moment of expiry.
        "sandbox:late",
    ];
    PlaceOrder {
        order_id: uuid(rng).to_string(),
        customer_id: "customer".to_owned(),
        lines,
        shares,
        time_to_pay: seconds(rng.random_range(5..120)),
        late_payment_policy: if rng.random_bool(0.5) { LatePaymentPolicy::Rehold.into() } else { 0 },
        payment_method: format!("{}{}{}", scripts.choose(rng).copied().unwrap_or_default(), page(rng), hold(rng)),
        reference: String::new(),
        coupon_code: String::new(),
        contact_email: String::new(),
        actor: String::new(),
    }
}

/// What it takes to open the page to pay on.
fn page(rng: &mut StdRng) -> &'static str {
    match rng.random_range(0..60) {
        0 => ",checkout=refuse",
        1..20 => ",checkout=call",
        _ => "",
    }
}

/// Whether the provider sets the money aside before it is taken.
fn hold(rng: &mut StdRng) -> &'static str {
    match rng.random_range(0..3) {
        0 => ",hold=capture",
        _ => "",
    }
}

/// A buyer has lost the link of the page to pay on, or comes back to it; perhaps long after it was of any use.
pub(crate) fn looks_for_page(rng: &mut StdRng, at: Timestamp, payment_id: &str) -> Option<Intent> {
    // Drawn apart, so that a day without such buyers is what it was before there were any.
    let mut apart = StdRng::seed_from_u64(rng.clone().random());
    let rng = &mut apart;
    if !rng.random_ratio(1, 3) {
        return None;
    }
    let within = Duration::from_millis(if rng.random_bool(0.5) { 20 } else { 60_000 });
    let (payment_id, anew, actor) = (payment_id.to_owned(), rng.random_bool(0.8), String::new());
    let command = RequestCheckout { payment_id, anew, actor };
    Some(Intent::new(moment(rng, at, within), uuid(rng), &command))
}

/// What somebody wants who has just paid, or whose refund is under way: other things too.
pub(crate) fn has_second_thoughts(rng: &mut StdRng, at: Timestamp, order_id: &str, currency: &str) -> Vec<Intent> {
    if !rng.random_ratio(1, 8) {
        return vec![];
    }
    let order_id = order_id.to_owned();
    let (actor, note) = ("buyer".to_owned(), "changed my mind".to_owned());
    let ask = |amount| RequestRefund {
        order_id: order_id.clone(),
        amount,
        actor: actor.clone(),
        note: note.clone(),
        ..Default::default()
    };
    let line = ProductQuantity { sku: format!("P-{}", rng.random_range(0..3)), quantity: 1 };
    let goods = |amount| RequestRefund { lines: vec![line.clone()], ..ask(amount) };
    let cancel =
        CancelOrder { order_id: order_id.clone(), actor: actor.clone(), note: note.clone(), expected_version: 0 };
    let within = Duration::from_millis(if rng.random_bool(0.5) { 20 } else { 8_000 });
    let times = [moment(rng, at, within), moment(rng, at, within)];
    let ids = [uuid(rng), uuid(rng)];
    let first = |command: &RequestRefund| Intent::new(times[0], ids[0], command);
    match rng.random_range(0..6) {
        // Money first, and the goods after it.
        0 => vec![first(&ask(money(currency, 200))), Intent::new(times[1], ids[1], &goods(None))],
        // Goods for nothing, and then for something.
        1 => vec![first(&goods(money(currency, 0))), Intent::new(times[1], ids[1], &goods(None))],
        // A part, and everything beside it.
        2 => vec![first(&ask(money(currency, 100))), Intent::new(times[1], ids[1], &ask(None))],
        3 => vec![first(&ask(None)), Intent::new(times[1], ids[1], &cancel)],
        _ => vec![first(&ask(money(currency, 100))), Intent::new(times[1], ids[1], &cancel)],
    }
}

/// There was not enough: somebody tries again at once, perhaps before the order has heard of it.
pub(crate) fn insists(rng: &mut StdRng, at: Timestamp, order_id: String) -> Option<Intent> {
    let (actor, note) = ("buyer".to_owned(), "there must be one".to_owned());
    let reinstate =
        ReinstateOrder { order_id, actor, note, time_to_pay: seconds(rng.random_range(5..60)), expected_version: 0 };
    let at = moment(rng, at, Duration::from_millis(20));
    rng.random_ratio(1, 4).then(|| Intent::new(at, uuid(rng), &reinstate))
}

/// What an operator decides about a refund, after asking the provider.
pub(crate) fn resolve_refund(
    at: Timestamp,
    id: Uuid,
    payment_id: PaymentId,
    refund_id: RefundId,
    resolution: RefundResolution,
) -> Intent {
    let resolve = ResolveRefund {
        payment_id: payment_id.to_string(),
        refund_id: refund_id.to_string(),
        resolution: resolution.into(),
        actor: "operator".to_owned(),
        note: "asked the provider".to_owned(),
    };
    Intent::new(at, id, &resolve)
}

/// What an operator decides about a report that fits nothing, after asking the provider.
pub(crate) fn resolve_report(
    at: Timestamp,
    id: Uuid,
    payment_id: PaymentId,
    provider_event_id: &str,
    resolution: ReportResolution,
) -> Intent {
    let resolve = ResolveProviderReport {
        payment_id: payment_id.to_string(),
        provider_event_id: provider_event_id.to_owned(),
        resolution: resolution.into(),
        actor: "operator".to_owned(),
        note: "asked the provider".to_owned(),
    };
    Intent::new(at, id, &resolve)
}
