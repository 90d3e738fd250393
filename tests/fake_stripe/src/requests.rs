//! What may be asked for: the parameters of each call, with their types and limits.

use crate::{
    money::{check_currency, check_step},
    params::{Metadata, Params, TEXT_MAX},
    problem::Problem,
};

/// Lines of one session.
const LINES_MAX: usize = 100;

/// When the money of an accepted card is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    Automatic,
    AutomaticAsync,
    Manual,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) unit_amount: i64,
    pub(crate) quantity: i64,
}

/// `POST /v1/checkout/sessions`.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) lines: Vec<Line>,
    pub(crate) currency: String,
    pub(crate) subtotal: i64,
    pub(crate) coupon: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) intent_metadata: Metadata,
    pub(crate) intent_description: Option<String>,
    pub(crate) capture: Capture,
    pub(crate) expires_at: Option<i64>,
    pub(crate) success_url: Option<String>,
    pub(crate) cancel_url: Option<String>,
    pub(crate) adaptive_pricing: bool,
    pub(crate) allowed_methods: Vec<String>,
    pub(crate) customer_email: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) submit_type: Option<&'static str>,
}

const SUBMIT_TYPES: [(&str, &str); 5] =
    [("auto", "auto"), ("book", "book"), ("donate", "donate"), ("pay", "pay"), ("subscribe", "subscribe")];

impl NewSession {
    pub(crate) fn read(mut call: Params) -> Result<Self, Problem> {
        // Stripe knows two other modes, which the fake does not have.
        call.choice("mode", &[("payment", ())])?.ok_or_else(|| call.lacks("mode"))?;
        call.choice("ui_mode", &[("hosted_page", ())])?;
        let (lines, currency) = lines(&mut call)?;
        let subtotal = subtotal(&lines)?;
        let coupon = discount(&mut call)?;
        let (intent_metadata, intent_description, capture) = intent(&mut call)?;
        let adaptive_pricing = match call.object("adaptive_pricing")? {
            None => true,
            Some(mut object) => {
                let enabled = object.boolean("enabled")?.unwrap_or(true);
                object.end()?;
                enabled
            }
        };
        let new = Self {
            lines,
            currency,
            subtotal,
            coupon,
            client_reference_id: call.text("client_reference_id", 200)?,
            metadata: call.metadata("metadata")?,
            intent_metadata,
            intent_description,
            capture,
            expires_at: call.integer("expires_at")?,
            success_url: call.url("success_url")?,
            cancel_url: call.url("cancel_url")?,
            adaptive_pricing,
            allowed_methods: call.texts("allowed_payment_method_types")?,
            customer_email: call.text("customer_email", 800)?,
            locale: call.text("locale", 10)?,
            submit_type: call.choice("submit_type", &SUBMIT_TYPES)?,
        };
        if new.success_url.is_none() {
            return Err(call.lacks("success_url"));
        }
        call.end()?;
        Ok(new)
    }
}

fn lines(call: &mut Params) -> Result<(Vec<Line>, String), Problem> {
    let objects = call.objects("line_items")?;
    if objects.len() > LINES_MAX {
        let text = format!("You can only specify up to {LINES_MAX} line items.");
        return Err(Problem::invalid(text).param("line_items"));
    }
    let mut lines = Vec::with_capacity(objects.len());
    let mut currency: Option<String> = None;
    for object in objects {
        let (line, of_line) = line(object)?;
        if currency.as_ref().is_some_and(|first| *first != of_line) {
            return Err(Problem::invalid("All line items must have the same currency.").param("line_items"));
        }
        currency = Some(of_line);
        lines.push(line);
    }
    let currency = currency.ok_or_else(|| call.lacks("line_items"))?;
    if let Some(given) = call.text("currency", 3)?
        && given != currency
    {
        return Err(Problem::invalid("The currency must be that of the line items.").param("currency"));
    }
    Ok((lines, currency))
}

fn line(mut object: Params) -> Result<(Line, String), Problem> {
    let quantity_name = object.name("quantity");
    let quantity = object.integer("quantity")?.ok_or_else(|| object.lacks("quantity"))?;
    if quantity < 1 {
        let problem = Problem::invalid("This value must be greater than or equal to 1.");
        return Err(problem.code("parameter_invalid_integer").param(quantity_name));
    }
    let mut price = object.object("price_data")?.ok_or_else(|| object.lacks("price_data"))?;
    let currency = price.text("currency", 3)?.ok_or_else(|| price.lacks("currency"))?;
    check_currency(&currency, &price.name("currency"))?;
    let amount_name = price.name("unit_amount");
    let unit_amount = price.integer("unit_amount")?.ok_or_else(|| price.lacks("unit_amount"))?;
    if unit_amount < 0 {
        let problem = Problem::invalid("Invalid non-negative integer");
        return Err(problem.code("parameter_invalid_integer").param(amount_name));
    }
    check_step(&currency, unit_amount, &amount_name)?;
    let mut product = price.object("product_data")?.ok_or_else(|| price.lacks("product_data"))?;
    let name = product.text("name", TEXT_MAX)?.ok_or_else(|| product.lacks("name"))?;
    product.text("description", 40_000)?;
    product.metadata("metadata")?;
    product.end()?;
    price.choice("tax_behavior", &[("exclusive", ()), ("inclusive", ()), ("unspecified", ())])?;
    price.end()?;
    object.metadata("metadata")?;
    object.end()?;
    Ok((Line { name, unit_amount, quantity }, currency))
}

fn subtotal(lines: &[Line]) -> Result<i64, Problem> {
    let amounts = lines.iter().map(|line| line.unit_amount.checked_mul(line.quantity));
    let total = amounts.into_iter().try_fold(0_i64, |total, amount| total.checked_add(amount?));
    total.ok_or_else(|| Problem::invalid("The total is too large.").code("amount_too_large").param("line_items"))
}

fn discount(call: &mut Params) -> Result<Option<String>, Problem> {
    let mut coupon = None;
    let discounts = call.objects("discounts")?;
    if discounts.len() > 1 {
        return Err(Problem::invalid("You may only specify up to 1 discount.").param("discounts"));
    }
    for mut discount in discounts {
        coupon = Some(discount.text("coupon", TEXT_MAX)?.ok_or_else(|| discount.lacks("coupon"))?);
        discount.end()?;
    }
    if call.boolean("allow_promotion_codes")?.is_some() && coupon.is_some() {
        let problem =
            Problem::invalid("You may only specify one of these parameters: allow_promotion_codes, discounts.");
        return Err(problem.code("parameters_exclusive"));
    }
    Ok(coupon)
}

fn intent(call: &mut Params) -> Result<(Metadata, Option<String>, Capture), Problem> {
    const CAPTURES: [(&str, Capture); 3] =
        [("automatic", Capture::Automatic), ("automatic_async", Capture::AutomaticAsync), ("manual", Capture::Manual)];
    let Some(mut data) = call.object("payment_intent_data")? else {
        return Ok((Metadata::new(), None, Capture::AutomaticAsync));
    };
    let metadata = data.metadata("metadata")?;
    let description = data.text("description", 1_000)?;
    let capture = data.choice("capture_method", &CAPTURES)?.unwrap_or(Capture::AutomaticAsync);
    data.end()?;
    Ok((metadata, description, capture))
}

/// `POST /v1/payment_intents/{id}/capture`.
#[derive(Debug)]
pub(crate) struct NewCapture {
    pub(crate) amount: Option<i64>,
    pub(crate) metadata: Metadata,
}

impl NewCapture {
    pub(crate) fn read(mut call: Params) -> Result<Self, Problem> {
        let new = Self { amount: positive(&mut call, "amount_to_capture")?, metadata: call.metadata("metadata")? };
        if call.boolean("final_capture")? == Some(false) {
            return Err(Problem::invalid("This payment is not eligible for multicapture.").param("final_capture"));
        }
        call.end()?;
        Ok(new)
    }
}

/// `POST /v1/payment_intents/{id}/cancel`.
#[derive(Debug)]
pub(crate) struct NewCancel {
    pub(crate) reason: Option<&'static str>,
}

impl NewCancel {
    pub(crate) fn read(mut call: Params) -> Result<Self, Problem> {
        const REASONS: [(&str, &str); 4] = [
            ("abandoned", "abandoned"),
            ("duplicate", "duplicate"),
            ("fraudulent", "fraudulent"),
            ("requested_by_customer", "requested_by_customer"),
        ];
        let new = Self { reason: call.choice("cancellation_reason", &REASONS)? };
        call.end()?;
        Ok(new)
    }
}

/// `POST /v1/refunds`.
#[derive(Debug, Default)]
pub(crate) struct NewRefund {
    pub(crate) payment_intent: Option<String>,
    pub(crate) charge: Option<String>,
    pub(crate) amount: Option<i64>,
    pub(crate) metadata: Metadata,
    pub(crate) reason: Option<&'static str>,
}

impl NewRefund {
    pub(crate) fn read(mut call: Params) -> Result<Self, Problem> {
        const REASONS: [(&str, &str); 3] = [
            ("duplicate", "duplicate"),
            ("fraudulent", "fraudulent"),
            ("requested_by_customer", "requested_by_customer"),
        ];
        let new = Self {
            payment_intent: call.text("payment_intent", TEXT_MAX)?,
            charge: call.text("charge", TEXT_MAX)?,
            amount: positive(&mut call, "amount")?,
            metadata: call.metadata("metadata")?,
            reason: call.choice("reason", &REASONS)?,
        };
        if new.payment_intent.is_none() && new.charge.is_none() {
            let text = "One of the following params should be provided for this request: payment_intent or charge.";
            return Err(Problem::invalid(text).code("parameter_missing"));
        }
        call.end()?;
        Ok(new)
    }
}

fn positive(call: &mut Params, key: &str) -> Result<Option<i64>, Problem> {
    let name = call.name(key);
    match call.integer(key)? {
        Some(amount) if amount < 1 => {
            let problem = Problem::invalid("This value must be greater than or equal to 1.");
            Err(problem.code("parameter_invalid_integer").param(name))
        }
        amount => Ok(amount),
    }
}

/// What a coupon takes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Off {
    Amount {
        minor: i64,
        currency: String,
    },
    /// As it was written, and in hundredths of a percent.
    Percent {
        written: String,
        hundredths: i64,
    },
}

/// Five years.
const REDEEM_MAX: i64 = 5 * 365 * 24 * 60 * 60;

/// `POST /v1/coupons`.
#[derive(Debug)]
pub(crate) struct NewCoupon {
    pub(crate) id: Option<String>,
    pub(crate) off: Off,
    pub(crate) name: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) max_redemptions: Option<i64>,
    pub(crate) redeem_by: Option<i64>,
}

impl NewCoupon {
    pub(crate) fn read(mut call: Params, now: i64) -> Result<Self, Problem> {
        // The other durations mean something for subscriptions only.
        call.choice("duration", &[("once", ())])?;
        let amount = positive(&mut call, "amount_off")?;
        let percent = call.text("percent_off", 10)?;
        let currency = call.text("currency", 3)?;
        let off = match (amount, percent) {
            (Some(minor), None) => {
                let currency = currency.ok_or_else(|| call.lacks("currency"))?;
                check_currency(&currency, "currency")?;
                check_step(&currency, minor, "amount_off")?;
                Off::Amount { minor, currency }
            }
            (None, Some(written)) => Off::Percent { hundredths: hundredths(&written)?, written },
            (None, None) => return Err(call.lacks("percent_off")),
            (Some(_), Some(_)) => {
                let text = "You may only specify one of these parameters: amount_off, percent_off.";
                return Err(Problem::invalid(text).code("parameters_exclusive"));
            }
        };
        let new = Self {
            id: call.text("id", 255)?,
            off,
            name: call.text("name", 40)?,
            metadata: call.metadata("metadata")?,
            max_redemptions: positive(&mut call, "max_redemptions")?,
            redeem_by: call.integer("redeem_by")?,
        };
        if new.redeem_by.is_some_and(|end| !(now..=now.saturating_add(REDEEM_MAX)).contains(&end)) {
            let text = "Invalid redeem_by: must be in the future and within five years";
            return Err(Problem::invalid(text).param("redeem_by"));
        }
        call.end()?;
        Ok(new)
    }
}

/// `12.5` is 1,250 hundredths of a percent.
fn hundredths(written: &str) -> Result<i64, Problem> {
    let (whole, part) = written.split_once('.').unwrap_or((written, ""));
    let is_number = [whole, part].iter().all(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let parsed = if is_number && part.len() <= 2 { format!("{whole}{part:0<2}").parse().ok() } else { None };
    parsed
        .filter(|hundredths| (1..=10_000).contains(hundredths))
        .ok_or_else(|| Problem::invalid("Invalid percent_off: must be above 0 and at most 100").param("percent_off"))
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) starting_after: Option<String>,
    pub(crate) ending_before: Option<String>,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Page {
    pub(crate) fn read(call: &mut Params) -> Result<Self, Problem> {
        let limit = call.integer("limit")?.unwrap_or(10);
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
            let problem = Problem::invalid("This value must be between 1 and 100.");
            problem.code("parameter_invalid_integer").param("limit")
        })?;
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        if let Some(mut created) = call.object("created")? {
            from = from.max(created.integer("gte")?.unwrap_or(from));
            from = from.max(created.integer("gt")?.map_or(from, |after| after.saturating_add(1)));
            to = to.min(created.integer("lte")?.unwrap_or(to));
            to = to.min(created.integer("lt")?.map_or(to, |before| before.saturating_sub(1)));
            created.end()?;
        }
        let starting_after = call.text("starting_after", TEXT_MAX)?;
        let ending_before = call.text("ending_before", TEXT_MAX)?;
        if starting_after.is_some() && ending_before.is_some() {
            let text = "You may only specify one of these parameters: ending_before, starting_after.";
            return Err(Problem::invalid(text).code("parameters_exclusive"));
        }
        Ok(Self { limit, starting_after, ending_before, from, to })
    }
}
