//! Acts: what a visitor may do, each a request of the API. First it is said what would happen, then why is asked for, then it is done once,
//! however often the button is pressed.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{Request, StatusCode, header},
    response::Response,
};
use domain::{minor_units, written};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::{
    frame::{Frame, Signed, html, part},
    orders::{given, query_of},
    see_other,
    session::{Visitor, form_of},
};
use crate::{
    Gateway,
    caller::Scope,
    commands::{self, insert},
    fleet::ConsumerState,
    guard, operators,
    orders::shape::{Money, Order},
    problem::{NEEDS_NEW_KEY, Problem},
    read::Round,
    routes,
};

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4_194_304;

/// The fewest letters of a reason.
const REASON_CHARS_MIN: usize = 8;

/// What is asked for, beside the reason.
#[derive(Debug)]
enum Kind {
    /// A whole number.
    Number,
    /// An amount of the currency that the page names. Nothing: all that is left.
    Amount,
    /// One of these, each with what it means.
    Choice(&'static [(&'static str, &'static str)]),
    /// Something to confirm, if the choice is this one.
    Confirm(&'static str),
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    label: &'static str,
    kind: Kind,
}

/// Something that can be done.
#[derive(Debug)]
struct Verb {
    word: &'static str,
    title: &'static str,
    /// What happens then.
    says: &'static str,
    button: &'static str,
    scope: Scope,
    /// Where it is asked for, with names of what it is about.
    path: &'static str,
    /// The field of the reason.
    why: &'static str,
    fields: &'static [Field],
    /// The page to go on at, with names of what it is about.
    back: &'static str,
}

const ORDER: &str = "orders/{order_id}";
const PRODUCT: &str = "stock/{sku}";
const ROUND: &str = "rounds/{round_id}";

const VERBS: [Verb; 14] = [
    Verb {
        word: "cancel",
        title: "Cancel the order",
        says: "All that it holds is given back, and its buyer is not asked for money any more. Money that has come goes back.",
        button: "Cancel the order",
        scope: Scope::OrdersWrite,
        path: "/v1/orders/{order_id}/cancel",
        why: "note",
        fields: &[],
        back: ORDER,
    },
    Verb {
        word: "refund",
        title: "Refund the order",
        says: "The money goes back the way it came. Without an amount all that is left goes back, and all goods return to stock.",
        button: "Refund",
        scope: Scope::OrdersWrite,
        path: "/v1/orders/{order_id}/refunds",
        why: "note",
        fields: &[Field { name: "amount", label: "Amount (nothing: all that is left)", kind: Kind::Amount }],
        back: ORDER,
    },
    Verb {
        word: "expire",
        title: "Expire the order now",
        says: "It is treated as if its time to pay had run out: all that it holds is given back.",
        button: "Expire the order",
        scope: Scope::Operate,
        path: "/v1/orders/{order_id}/expire",
        why: "note",
        fields: &[],
        back: ORDER,
    },
    Verb {
        word: "reinstate",
        title: "Reinstate the order",
        says: "It begins once more: it asks for all that it needs, as it costs it now, and its buyer has time to pay again.",
        button: "Reinstate the order",
        scope: Scope::Operate,
        path: "/v1/orders/{order_id}/reinstate",
        why: "note",
        fields: &[],
        back: ORDER,
    },
    Verb {
        word: "resolve-refund",
        title: "Decide the refund",
        says: "This refund does not come to its end by itself. Look at the provider first, and say here what is so.",
        button: "Record the decision",
        scope: Scope::RefundsDecide,
        path: "/v1/payments/{payment_id}/refunds/{refund_id}/resolve",
        why: "note",
        fields: &[
            Field {
                name: "resolution",
                label: "What is so",
                kind: Kind::Choice(&[
                    ("REFUND_RESOLUTION_REFUNDED", "The customer has the money"),
                    ("REFUND_RESOLUTION_RETRY", "It was not paid out: send it again under a new key"),
                    ("REFUND_RESOLUTION_ABANDON", "The customer does not have the money, and the refund is given up"),
                ]),
            },
            Field {
                name: "checked",
                label: "I have looked at the provider, and nothing was paid out",
                kind: Kind::Confirm("REFUND_RESOLUTION_RETRY"),
            },
        ],
        back: ORDER,
    },
    Verb {
        word: "resolve-report",
        title: "Decide about money that fits nothing",
        says: "The provider has reported money that nothing here asked for. Look at the provider, and say here what is so.",
        button: "Record the decision",
        scope: Scope::RefundsDecide,
        path: "/v1/payments/{payment_id}/reports/{provider_event_id}/resolve",
        why: "note",
        fields: &[Field {
            name: "resolution",
            label: "What is so",
            kind: Kind::Choice(&[
                ("REPORT_RESOLUTION_ACCEPTED", "It is so, and stays so"),
                ("REPORT_RESOLUTION_UNDONE", "It has been undone at the provider, or never was"),
            ]),
        }],
        back: "decide",
    },
    Verb {
        word: "receive",
        title: "Receive stock",
        says: "The pieces are added to what is on hand, and can be sold at once.",
        button: "Receive the pieces",
        scope: Scope::CatalogWrite,
        path: "/v1/products/{sku}/receive",
        why: "reference",
        fields: &[Field { name: "quantity", label: "Pieces", kind: Kind::Number }],
        back: PRODUCT,
    },
    Verb {
        word: "adjust",
        title: "Adjust stock",
        says: "Corrects what is on hand to what was counted. Less than what is held for orders is refused.",
        button: "Adjust the stock",
        scope: Scope::CatalogWrite,
        path: "/v1/products/{sku}/adjust",
        why: "reason",
        fields: &[Field { name: "delta", label: "Pieces more, or fewer with a minus", kind: Kind::Number }],
        back: PRODUCT,
    },
    Verb {
        word: "close-round",
        title: "Close the round",
        says: "No more shares are sold. What is sold stays sold, and what is held may still be paid.",
        button: "Close the round",
        scope: Scope::CatalogWrite,
        path: "/v1/rounds/{round_id}/close",
        why: "note",
        fields: &[],
        back: ROUND,
    },
    Verb {
        word: "cancel-round",
        title: "Cancel the round",
        says: "All of its buyers get their money back.",
        button: "Cancel the round",
        scope: Scope::CatalogWrite,
        path: "/v1/rounds/{round_id}/cancel",
        why: "note",
        fields: &[],
        back: ROUND,
    },
    Verb {
        word: "redrive",
        title: "Have the letter handled again",
        says: "It comes to its worker once more, under its own id, and does what it would have done.",
        button: "Redrive the letter",
        scope: Scope::Operate,
        path: operators::REDRIVE,
        why: "reason",
        fields: &[],
        back: "letters/{letter}",
    },
    Verb {
        word: "set-aside",
        title: "Set the letter aside",
        says: "It is over, and nobody sends it again. It is kept.",
        button: "Set the letter aside",
        scope: Scope::Operate,
        path: operators::SET_ASIDE,
        why: "reason",
        fields: &[],
        back: "letters/{letter}",
    },
    Verb {
        word: "pause",
        title: "Pause the consumer",
        says: "It takes no messages for a while: they wait at the broker, and nothing is lost. It goes on by itself when the time is over.",
        button: "Pause the consumer",
        scope: Scope::Operate,
        path: operators::PAUSE,
        why: "reason",
        fields: &[Field { name: "minutes", label: "Minutes", kind: Kind::Number }],
        back: "fleet",
    },
    Verb {
        word: "resume",
        title: "Let the consumer go on",
        says: "It takes what has waited, and all that comes.",
        button: "Let it go on",
        scope: Scope::Operate,
        path: operators::RESUME,
        why: "reason",
        fields: &[],
        back: "fleet",
    },
];

/// A way to an act.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) title: &'static str,
    /// Its form, below the console's root.
    pub(super) page: String,
}

/// The acts of these words that a visitor may do, about this.
fn offers(visitor: &Visitor, words: &[&str], about: &[(&str, &str)]) -> Vec<Offer> {
    let mine = VERBS.iter().filter(|verb| words.contains(&verb.word) && visitor.caller.may(verb.scope));
    let offer = |verb: &Verb| Offer {
        title: verb.title,
        page: format!("act/{}?{}", verb.word, query_of(about.iter().copied())),
    };
    mine.map(offer).collect()
}

/// What can be done about an order as it stands.
pub(super) fn of_order(visitor: &Visitor, order: &Order) -> Vec<Offer> {
    let words: &[&str] = match order.status.as_str() {
        "pending" | "reserved" => &["cancel", "expire"],
        "paid" | "partially_refunded" => &["refund"],
        "expired" | "cancelled" => &["reinstate"],
        _ => &[],
    };
    let (id, left) = (order.order_id.to_string(), left(order));
    let mut about = vec![("order_id", id.as_str()), ("version", order.version.as_str())];
    if words.contains(&"refund") {
        about.extend([("currency", order.total.currency.as_str()), ("left", left.as_str())]);
    }
    offers(visitor, words, &about)
}

/// What an order's payments have brought and not given back.
fn left(order: &Order) -> String {
    let minor = |money: &Money| money.minor_units.parse::<i64>().unwrap_or_default();
    let sums = &order.money;
    let gone = minor(&sums.going_back) + minor(&sums.gone_back) + minor(&sums.charged_back);
    written(minor(&sums.captured) - gone, &order.total.currency)
}

/// What can be decided about a refund of so much.
pub(super) fn of_refund(
    visitor: &Visitor,
    (order_id, payment_id, refund_id): (&str, &str, &str),
    money: &str,
) -> Vec<Offer> {
    let about = [("order_id", order_id), ("payment_id", payment_id), ("refund_id", refund_id), ("money", money)];
    offers(visitor, &["resolve-refund"], &about)
}

/// What can be decided about a report.
pub(super) fn of_report(visitor: &Visitor, payment_id: &str, report: &str, money: &str) -> Vec<Offer> {
    let about = [("payment_id", payment_id), ("provider_event_id", report), ("money", money)];
    offers(visitor, &["resolve-report"], &about)
}

/// What can be done about a product.
pub(super) fn of_product(visitor: &Visitor, sku: &str) -> Vec<Offer> {
    offers(visitor, &["receive", "adjust"], &[("sku", sku)])
}

/// What can be done about a round as it stands.
pub(super) fn of_round(visitor: &Visitor, round: &Round) -> Vec<Offer> {
    let words: &[&str] = match round.status.as_str() {
        "open" => &["close-round", "cancel-round"],
        "sold_out" | "closed" => &["cancel-round"],
        _ => &[],
    };
    offers(visitor, words, &[("round_id", &round.round_id.to_string())])
}

/// What can be done about a consumer.
pub(super) fn of_consumer(visitor: &Visitor, consumer: &ConsumerState) -> Vec<Offer> {
    let words: &[&str] = match consumer.state {
        "goes" => &["pause"],
        "paused" => &["resume"],
        _ => &[],
    };
    offers(visitor, words, &[("consumer", &consumer.consumer)])
}

/// What can be done about a dead letter.
pub(super) fn of_letter(visitor: &Visitor, letter: &str) -> Vec<Offer> {
    offers(visitor, &["redrive", "set-aside"], &[("letter", letter)])
}

/// A field as a form shows it.
#[derive(Debug)]
struct Shown {
    field: &'static Field,
    value: String,
}

#[derive(Template)]
#[template(path = "act.html")]
struct Ask {
    frame: Frame,
    verb: &'static Verb,
    fields: Vec<Shown>,
    reason: String,
    /// What goes with the form and is not asked for.
    hidden: Vec<(String, String)>,
    /// What it is about, to be read.
    about: Vec<(String, String)>,
    /// The page to go back to.
    back: String,
    /// Why it was not done: a code, and in words.
    refused: Option<(String, String)>,
    /// Whether it can be asked for again from this form: what it is about is still as its visitor has seen it.
    is_open: bool,
    /// What would be done.
    preview: Option<Preview>,
}

/// What would be done, as far as it can be said before.
#[derive(Debug)]
struct Preview {
    /// Events that would be written, each with what it would say.
    events: Vec<(String, String)>,
    /// Why it would be refused. Empty: it would not be.
    refused: String,
    /// The same in words, of what is no message. Empty: it is one.
    words: String,
}

type Form = BTreeMap<String, String>;

fn verb(word: &str) -> Result<&'static Verb, Problem> {
    let known = VERBS.iter().find(|verb| verb.word == word);
    known.ok_or_else(|| Problem::own("NOT_FOUND", "there is no such act"))
}

/// What a path is about.
fn names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split(['{', '}']).enumerate().filter(|(place, _)| place % 2 == 1).map(|(_, name)| name)
}

fn filled(path: &'static str, form: &Form) -> String {
    let word = |(place, word): (usize, &str)| match place % 2 {
        1 => form.get(word).map(|value| part(value)).unwrap_or_default(),
        _ => word.to_owned(),
    };
    path.split(['{', '}']).enumerate().map(word).collect()
}

impl Ask {
    fn of(gateway: &Gateway, visitor: &Visitor, verb: &'static Verb, form: &Form) -> Self {
        let is_asked =
            |name: &str| name == "reason" || name == "preview" || verb.fields.iter().any(|field| field.name == name);
        let hidden = form.iter().filter(|(name, _)| !is_asked(name)).map(|(name, value)| (name.clone(), value.clone()));
        let about = form.iter().filter(|(name, _)| {
            let is_name = names(verb.path).chain(names(verb.back)).any(|known| known == name.as_str());
            is_name || ["letter", "left", "money"].contains(&name.as_str())
        });
        Self {
            frame: Frame::of(gateway, visitor, verb.title),
            fields: verb
                .fields
                .iter()
                .map(|field| Shown { field, value: form.get(field.name).cloned().unwrap_or_default() })
                .collect(),
            reason: form.get("reason").cloned().unwrap_or_default(),
            hidden: hidden.collect(),
            about: about.map(|(name, value)| (name.replace('_', " "), value.clone())).collect(),
            back: filled(verb.back, form),
            verb,
            refused: None,
            is_open: true,
            preview: None,
        }
    }

    /// Says why it was not done. What a worker has refused stays refused under its key, so what is corrected goes under another; what may still be
    /// done keeps its own.
    fn is_refused(&mut self, problem: &Value) {
        let said = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        let detail = said("detail").trim_end_matches(NEEDS_NEW_KEY).to_owned();
        self.is_open = !["WRONG_VERSION", "IDEMPOTENCY_KEY_REUSED"].contains(&said("code"));
        if problem.get("retryable") == Some(&Value::Bool(false)) {
            self.hidden.retain(|(name, _)| name != "key");
            self.hidden.push(("key".to_owned(), new_key()));
        }
        self.refused = Some((said("code").to_owned(), detail));
    }
}

fn new_key() -> String {
    format!("console-{}", guard::new_id())
}

/// `GET /console/act/{verb}`
pub(super) async fn ask(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let verb = verb(&word)?;
    visitor.caller.must(verb.scope)?;
    let mut form: Form = given(query.as_deref()).into_iter().collect();
    if let Some(missing) = names(verb.path).find(|name| !form.contains_key(*name)) {
        return Err(Problem::own("INVALID_PARAMETER", format!("{missing} is missing")).of(missing));
    }
    form.insert("key".to_owned(), new_key());
    html(&Ask::of(&gateway, &visitor, verb, &form))
}

/// `POST /console/act/{verb}`
pub(super) async fn act(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    Path(word): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let verb = verb(&word)?;
    visitor.caller.must(verb.scope)?;
    let form: Form = form_of(&gateway, body).await?.into_iter().collect();
    let is_preview = form.contains_key("preview");
    let mut ask = Ask::of(&gateway, &visitor, verb, &form);
    let asked = match body_of(verb, &form, is_preview) {
        Ok(asked) => asked,
        Err(why) => {
            ask.refused = Some(("NOT_COMPLETE".to_owned(), why));
            return shown(&ask, StatusCode::UNPROCESSABLE_ENTITY);
        }
    };
    let (status, answer) = send(&gateway, &visitor, (verb, &form), (&asked, is_preview)).await?;
    if is_preview && status.is_client_error() {
        ask.preview = Some(Preview::refused(&answer));
        return shown(&ask, StatusCode::OK);
    }
    if status.is_client_error() || status.is_server_error() {
        ask.is_refused(&answer);
        return shown(&ask, status);
    }
    if is_preview {
        ask.preview = Some(Preview::of(&answer));
        return shown(&ask, StatusCode::OK);
    }
    if let Some(not_done) = not_done(&answer) {
        ask.refused = Some(not_done);
        return shown(&ask, StatusCode::CONFLICT);
    }
    let receipt = answer.get("command_id").and_then(Value::as_str).map(|id| format!("?receipt={id}"));
    Ok(see_other(&format!("{}{}{}", visitor.root, filled(verb.back, &form), receipt.unwrap_or_default())))
}

/// What an operator asked for and nothing was done about: what became of it, and why.
fn not_done(answer: &Value) -> Option<(String, String)> {
    let said = |letter: &Value, name: &str| letter.get(name).map(text).unwrap_or_default();
    let letters = answer.get("letters").and_then(Value::as_array);
    let asked = letters.map_or(std::slice::from_ref(answer), Vec::as_slice);
    let letter = asked.iter().find(|letter| ["refused", "failed"].contains(&said(letter, "outcome").as_str()))?;
    let why = [said(letter, "says"), said(letter, "reason")].into_iter().find(|why| !why.is_empty());
    Some((said(letter, "outcome").to_uppercase(), why.unwrap_or_default()))
}

fn shown(ask: &Ask, status: StatusCode) -> Result<Response, Problem> {
    let mut response = html(ask)?;
    *response.status_mut() = status;
    insert(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    Ok(response)
}

/// What the API is asked for.
///
/// # Errors
/// The form is not complete, in words.
fn body_of(verb: &Verb, form: &Form, is_preview: bool) -> Result<Value, String> {
    let mut body = Map::new();
    let value = |name: &str| form.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    for field in verb.fields {
        let given = value(field.name);
        let must = || format!("{} is missing", field.label);
        let said = match &field.kind {
            Kind::Number => {
                let number: i64 = given
                    .ok_or_else(must)?
                    .parse()
                    .map_err(|_none| format!("{} must be a whole number", field.label))?;
                // The contract's numbers of 64 bits are texts; what operators do is no message of it.
                Some(if is_of_operators(verb) { number.into() } else { number.to_string().into() })
            }
            Kind::Amount => given.map(|amount| money(amount, value("currency").unwrap_or_default())).transpose()?,
            Kind::Choice(choices) => {
                let known = choices.iter().find(|(word, _)| Some(*word) == given);
                Some(known.ok_or_else(must)?.0.into())
            }
            Kind::Confirm(choice) => {
                let is_meant = verb.fields.iter().any(|other| value(other.name) == Some(choice));
                if is_meant && given.is_none() {
                    return Err(format!("this needs to be confirmed: {}", field.label));
                }
                None
            }
        };
        body.extend(said.map(|said| (field.name.to_owned(), said)));
    }
    let reason = value("reason").unwrap_or_default();
    if !is_preview && reason.chars().count() < REASON_CHARS_MIN {
        return Err(format!("say why, in {REASON_CHARS_MIN} letters or more: others read it later"));
    }
    let reason = if reason.is_empty() { "what would happen?" } else { reason };
    body.insert(verb.why.to_owned(), reason.into());
    if let Some(letter) = value("letter") {
        body.insert("letters".to_owned(), json!([letter]));
    }
    if is_of_operators(verb) {
        body.insert("dry_run".to_owned(), is_preview.into());
    }
    Ok(body.into())
}

/// Whether it is no command, but something that is asked for in another way.
fn is_of_operators(verb: &Verb) -> bool {
    !commands::ROUTES.iter().any(|route| route.path == verb.path)
}

fn money(amount: &str, currency: &str) -> Result<Value, String> {
    let minor = minor_units(amount, currency).ok_or_else(|| format!("{amount:?} is no amount of {currency}"))?;
    Ok(json!({ "minor_units": minor.to_string(), "currency": currency }))
}

/// Asks the API, as anybody with the visitor's token would.
async fn send(
    gateway: &Arc<Gateway>,
    visitor: &Visitor,
    (verb, form): (&'static Verb, &Form),
    (body, is_preview): (&Value, bool),
) -> Result<(StatusCode, Value), Problem> {
    let broken = |_error| Problem::own("INVALID_PARAMETER", "the form says something that no request can");
    let path = filled(verb.path, form);
    let question = if is_preview && !is_of_operators(verb) { "?dry_run=true" } else { "" };
    let mut request = Request::post(format!("{path}{question}"))
        .header(header::AUTHORIZATION, format!("Bearer {}", visitor.token))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", form.get("key").map_or("", String::as_str));
    if let Some(version) = form.get("version") {
        request = request.header(header::IF_MATCH, format!("\"{version}\""));
    }
    let request = request.body(Body::from(body.to_string())).map_err(broken)?;
    let Ok(response) = routes::app(Arc::clone(gateway)).oneshot(request).await;
    let status = response.status();
    let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let answer = read.ok().and_then(|read| serde_json::from_slice(&read.to_bytes()).ok());
    let unread =
        || Problem::own("INTERNAL", "the answer cannot be read: look at what it was about, to see what came of it");
    Ok((status, answer.ok_or_else(unread)?))
}

impl Preview {
    /// Of what would be refused, by the problem that says why.
    fn refused(problem: &Value) -> Self {
        let said = |name: &str| problem.get(name).map(text).unwrap_or_default();
        let refused = format!("{} ({})", said("detail").trim_end_matches(NEEDS_NEW_KEY), said("code"));
        Self { events: Vec::new(), refused, words: String::new() }
    }

    /// Of a command, what it would do; of letters, what each of them would.
    fn of(answer: &Value) -> Self {
        let letters = answer.get("letters").and_then(Value::as_array);
        let would: Vec<&Value> = match letters {
            Some(letters) => letters.iter().filter_map(|letter| letter.get("would")).collect(),
            None => vec![answer],
        };
        let events = would.iter().filter_map(|would| would.get("write")?.as_array()).flatten().map(|event| {
            let said = |name: &str| event.get(name).map(text).unwrap_or_default();
            (format!("{} in {}", said("event"), said("stream")), said("said"))
        });
        let refused = would.iter().filter_map(|would| would.get("be_refused")?.as_str());
        let not_done = letters.into_iter().flatten().filter_map(|letter| letter.get("says")?.as_str());
        let words = answer.get("says").map(text).unwrap_or_default();
        Self { events: events.collect(), refused: refused.chain(not_done).collect::<Vec<_>>().join("; "), words }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::{Form, REASON_CHARS_MIN, VERBS, body_of, filled, names, verb};
    use crate::commands;

    fn form(fields: &[(&str, &str)]) -> Form {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_act_is_a_request_of_the_api_that_needs_the_same_scope() {
        let words: BTreeSet<&str> = VERBS.iter().map(|verb| verb.word).collect();
        assert_eq!(words.len(), VERBS.len());
        for verb in &VERBS {
            if let Some(route) = commands::ROUTES.iter().find(|route| route.path == verb.path) {
                assert_eq!(verb.scope, route.scope, "{}", verb.word);
                let message = proto::JsonMessage::read(route.message_type, b"{}").unwrap();
                assert!(message.text(verb.why).is_some(), "{}: {}", verb.word, verb.why);
            } else {
                assert!(verb.path.starts_with("/v1/admin/"), "{}", verb.path);
            }
        }
    }

    #[test]
    fn a_path_has_what_it_is_about_in_it_however_that_is_spelled() {
        let about = form(&[("sku", "M6 / galv. #4")]);
        assert_eq!(filled("/v1/products/{sku}/adjust", &about), "/v1/products/M6%20%2F%20galv.%20%234/adjust");
        assert_eq!(
            names("/v1/payments/{payment_id}/refunds/{refund_id}/resolve").collect::<Vec<_>>(),
            ["payment_id", "refund_id"]
        );
    }

    #[test]
    fn nothing_is_done_without_a_reason() {
        let cancel = verb("cancel").unwrap();
        assert!(
            body_of(cancel, &form(&[("reason", "too few")]), false)
                .unwrap_err()
                .contains(&REASON_CHARS_MIN.to_string())
        );
        assert_eq!(
            body_of(cancel, &form(&[("reason", " changed his mind ")]), false).unwrap(),
            json!({ "note": "changed his mind" })
        );
        assert!(body_of(cancel, &form(&[]), true).is_ok(), "a preview needs none");
    }

    #[test]
    fn an_amount_is_read_as_people_write_it() {
        let refund = |amount: &str, currency: &str| {
            let form = form(&[("amount", amount), ("currency", currency), ("reason", "wrong size")]);
            body_of(verb("refund").unwrap(), &form, false).map(|body| body.get("amount").cloned())
        };
        let of =
            |minor_units: &str, currency: &str| Ok(Some(json!({ "minor_units": minor_units, "currency": currency })));
        assert_eq!(refund("12.50", "EUR"), of("1250", "EUR"));
        assert_eq!(refund("1,250", "JPY"), of("1250", "JPY"));
        assert_eq!(refund("", "EUR"), Ok(None));
        for wrong in ["12.505", "a", "1.2.3", "-"] {
            assert!(refund(wrong, "EUR").unwrap_err().contains("no amount"), "{wrong}");
        }
    }

    #[test]
    fn money_is_sent_again_only_by_who_says_that_he_has_looked() {
        let resolve = verb("resolve-refund").unwrap();
        let reason = ("reason", "its dashboard says so");
        let decided = |fields: &[(&str, &str)]| body_of(resolve, &form(fields), false);
        assert!(decided(&[reason]).unwrap_err().contains("missing"));
        assert!(decided(&[reason, ("resolution", "SOMETHING")]).unwrap_err().contains("missing"));
        let retry = ("resolution", "REFUND_RESOLUTION_RETRY");
        assert!(decided(&[reason, retry]).unwrap_err().contains("confirmed"));
        let body = decided(&[reason, retry, ("checked", "yes")]).unwrap();
        assert_eq!(body, json!({ "resolution": "REFUND_RESOLUTION_RETRY", "note": "its dashboard says so" }));
        assert!(decided(&[reason, ("resolution", "REFUND_RESOLUTION_REFUNDED")]).is_ok());
    }
}
