//! The OpenAPI document: made of the routes, the contract and the types that are served, so it says what is.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::Response};
use operate::{pause, redrive, set_aside, unblock, would::Would};
use proto::{SERVICES, SchemaOf};
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use crate::{
    caller::Scope,
    catalog::{self, CouponList, ProductList, RoundList},
    commands::{self, DRY_RUN, EXPECTED, json_response},
    coupons::Coupon,
    diagnosis::{self, DiagnosisShape},
    events::EventList,
    expire::{self, ExpireOrders, ExpiredOrders},
    fleet::{self, FleetState},
    letters::{self, DeadLetterList},
    link::{self, EventLink},
    log,
    operators::{self, Act, ActOnLetters, PauseConsumer},
    orders::{
        list::{OrderList, PARAMETERS},
        shape::{Order, RefundStory},
    },
    outcome::CommandOutcome,
    problem::Document,
    read::{Product, Round},
    request::is_uuid,
    search::{self, Found},
    waiting::{self, WaitingList},
    wallets::WalletList,
};

/// Where schemas are in the document.
const SCHEMAS: &str = "#/components/schemas/";

/// A resource that is read.
struct Read {
    path: &'static str,
    summary: &'static str,
    schema: &'static str,
}

impl Read {
    /// What whoever reads it needs.
    fn scope(&self) -> Scope {
        match self.path {
            log::PATH => Scope::AuditRead,
            letters::PATH | letters::ONE | fleet::PATH => Scope::Operate,
            _ => Scope::OrdersRead,
        }
    }
}

const READ: [Read; 18] = [
    Read {
        path: "/v1/orders",
        summary: "Orders of a customer or of all, of any time, the newest first; or the one with a reference",
        schema: "OrderList",
    },
    Read { path: "/v1/orders/{order_id}", summary: "An order as it stands", schema: "Order" },
    Read {
        path: "/v1/orders/{order_id}/refunds/{refund_id}",
        summary: "A refund: how far it is, how its call to the provider goes, and all that happened to it",
        schema: "RefundStory",
    },
    Read {
        path: "/v1/orders/{order_id}/events",
        summary: "The events of an order, of all services; with Accept: text/event-stream as a stream that goes on",
        schema: "EventList",
    },
    Read { path: "/v1/products", summary: "Products and their stock, by SKU", schema: "ProductList" },
    Read { path: "/v1/rounds", summary: "Rounds, by id", schema: "RoundList" },
    Read { path: "/v1/coupons", summary: "Coupons and their uses, by code", schema: "CouponList" },
    Read {
        path: search::PATH,
        summary: "What a text is: an id or its first digits, the shop's own number of an order, a customer, a SKU, a code",
        schema: "Found",
    },
    Read {
        path: log::PATH,
        summary: "The events of all orders and services; with Accept: text/event-stream as a stream of those that come",
        schema: "EventList",
    },
    Read {
        path: waiting::PATH,
        summary: "What waits for a person: refunds, reports, disputes and money that nobody else can decide about",
        schema: "WaitingList",
    },
    Read {
        path: letters::PATH,
        summary: "Messages that could not be handled and that nobody has seen to, the oldest of each service first",
        schema: "DeadLetterList",
    },
    Read {
        path: fleet::PATH,
        summary: "How the fleet goes on: the log and its relay, consumers with what they have before them, and work that is due",
        schema: "FleetState",
    },
    Read { path: letters::ONE, summary: "A message that could not be handled", schema: "DeadLetter" },
    Read { path: "/v1/products/{sku}", summary: "A product and its stock", schema: "Product" },
    Read { path: "/v1/rounds/{round_id}", summary: "A round", schema: "Round" },
    Read { path: "/v1/coupons/{coupon_code}", summary: "A coupon and its uses", schema: "Coupon" },
    Read {
        path: "/v1/wallets/{customer_id}",
        summary: "The wallets of a customer, one for each currency",
        schema: "WalletList",
    },
    Read {
        path: "/v1/commands/{command_id}",
        summary: "The answer to any command, whoever sent it; or that its worker has not come to it yet",
        schema: "CommandOutcome",
    },
];

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    json_response(StatusCode::OK, &document())
}

fn document() -> Value {
    let mut schemas = BTreeMap::new();
    add::<Order>(&mut schemas);
    add::<OrderList>(&mut schemas);
    add::<RefundStory>(&mut schemas);
    add::<EventList>(&mut schemas);
    add::<ProductList>(&mut schemas);
    add::<RoundList>(&mut schemas);
    add::<CouponList>(&mut schemas);
    add::<Found>(&mut schemas);
    add::<FleetState>(&mut schemas);
    add::<WaitingList>(&mut schemas);
    add::<DeadLetterList>(&mut schemas);
    add::<Product>(&mut schemas);
    add::<Round>(&mut schemas);
    add::<Coupon>(&mut schemas);
    add::<WalletList>(&mut schemas);
    add::<CommandOutcome>(&mut schemas);
    add::<Document>(&mut schemas);
    add::<ExpireOrders>(&mut schemas);
    add::<ExpiredOrders>(&mut schemas);
    add::<EventLink>(&mut schemas);
    add::<DiagnosisShape>(&mut schemas);
    add::<ActOnLetters>(&mut schemas);
    add::<PauseConsumer>(&mut schemas);
    add::<Act>(&mut schemas);
    add::<redrive::Report>(&mut schemas);
    add::<set_aside::Report>(&mut schemas);
    add::<pause::Report>(&mut schemas);
    add::<unblock::Report>(&mut schemas);
    add::<Would>(&mut schemas);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for read in &READ {
        paths.entry(read.path).or_default().insert("get".to_owned(), get(read));
    }
    for route in &commands::ROUTES {
        // Every route is of a command of the contract: a test says so.
        let mut of_command = proto::json_schemas(route.message_type, SchemaOf::Request, SCHEMAS).unwrap_or_default();
        let operation = post(route, &of_command.remove(route.message_type).unwrap_or_default());
        schemas.extend(of_command);
        paths.entry(route.path).or_default().insert("post".to_owned(), operation);
    }
    paths.entry(expire::PATH).or_default().insert("post".to_owned(), post_expire());
    paths.entry(link::PATH).or_default().insert("post".to_owned(), post_link());
    paths.entry(diagnosis::PATH).or_default().insert("get".to_owned(), get_diagnosis());
    for verb in &VERBS {
        paths.entry(verb.path).or_default().insert("post".to_owned(), post_verb(verb));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Orders, the stock and shares that they hold, their money and their refunds. A 2xx says that the worker has \
                committed. Readers must go on past fields and words that they do not know: this version only grows.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}

fn add<T: ToSchema>(schemas: &mut BTreeMap<String, Value>) {
    let mut parts = vec![(T::name().into_owned(), <T as PartialSchema>::schema())];
    T::schemas(&mut parts);
    for (name, schema) in parts {
        schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
}

fn get(read: &Read) -> Value {
    let mut parameters = in_path(read.path);
    let mut content = Map::from_iter([(
        "application/json".to_owned(),
        json!({ "schema": { "$ref": format!("{SCHEMAS}{}", read.schema) } }),
    )]);
    parameters.extend(in_query(read));
    if read.schema == "EventList" {
        content.insert("text/event-stream".to_owned(), json!({ "schema": { "type": "string" } }));
    }
    let mut stands =
        Map::from_iter([("description".to_owned(), "As it stands".into()), ("content".to_owned(), content.into())]);
    let mut responses = responses([]);
    if ["Order", "Product", "Round"].contains(&read.schema) {
        parameters.push(json!({
            "name": "If-None-Match", "in": "header", "schema": { "type": "string" },
            "description": "The ETag that you have: nothing is sent if it is still that.",
        }));
        let etag = json!({ "ETag": { "schema": { "type": "string" } } });
        responses.insert("304".to_owned(), json!({ "description": "You have it", "headers": etag.clone() }));
        stands.insert("headers".to_owned(), etag);
    }
    if read.schema == "CommandOutcome" {
        responses.insert("202".to_owned(), under_way());
    }
    responses.insert("200".to_owned(), stands.into());
    json!({
        "summary": read.summary,
        "description": format!("Needs the scope {}.", read.scope().word()),
        "operationId": operation_id("get", read.path),
        "parameters": parameters,
        "responses": responses,
    })
}

/// The parameters behind the path of what is read.
fn in_query(read: &Read) -> Vec<Value> {
    let after = || {
        let schema = json!({ "type": "string", "pattern": "^[0-9]{1,18}$" });
        let words = "Only events behind this position; as a header: Last-Event-ID";
        json!({ "name": "after", "in": "query", "schema": schema, "description": words })
    };
    let of_link = |name: &str| {
        let words = "Of a link: both of it stand in the place of a token";
        json!({ "name": name, "in": "query", "schema": { "type": "string" }, "description": words })
    };
    match (read.schema, read.path) {
        ("OrderList", _) => PARAMETERS.map(in_list).to_vec(),
        ("ProductList" | "RoundList" | "CouponList", _) => {
            catalog::PARAMETERS.map(|name| in_catalog(read.schema, name)).to_vec()
        }
        ("Found", _) => {
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
            let words = "What was copied from somewhere";
            vec![json!({ "name": "text", "in": "query", "required": true, "schema": schema, "description": words })]
        }
        ("EventList", log::PATH) => {
            let schema = json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 100 });
            let words = "How many at most, of a list; a stream has no limit";
            vec![after(), json!({ "name": "limit", "in": "query", "schema": schema, "description": words })]
        }
        ("DeadLetterList", _) => letters::PARAMETERS.map(in_letters).to_vec(),
        ("EventList", _) => vec![after(), of_link("expires"), of_link("signature")],
        _ => vec![],
    }
}

/// A parameter of a list of dead letters.
fn in_letters(name: &str) -> Value {
    let (schema, words) = match name {
        "limit" => {
            let schema = json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 100 });
            (schema, "How many of each service at most")
        }
        "service" => (json!({ "type": "string", "enum": SERVICES }), "Only those of this service"),
        _ => (json!({ "type": "string" }), "Only those with this code: why they could not be handled"),
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": words })
}

/// A parameter of a list of what is on sale.
fn in_catalog(schema: &str, name: &str) -> Value {
    let (schema, words) = match (name, schema) {
        ("limit", _) => (json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }), "How many at most"),
        (_, "RoundList") => (json!({ "type": "string", "format": "uuid" }), "The last one of a page: the next page"),
        _ => (json!({ "type": "string" }), "The last one of a page: the next page"),
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": words })
}

fn post(route: &commands::Route, command: &Value) -> Value {
    let words = command.get("description").and_then(Value::as_str).unwrap_or_default();
    let words = words.strip_prefix("Command: ").unwrap_or(words);
    let mut parameters = in_path(route.path);
    parameters.push(idempotency_key());
    parameters.push(json!({
        "name": "Prefer", "in": "header", "schema": { "type": "string" },
        "description": "wait=SECONDS: how long to wait for the worker; respond-async: not at all.",
    }));
    if command.pointer(&format!("/properties/{EXPECTED}")).is_some() {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "schema": { "type": "string" },
            "description": "The ETag of the order that you have seen: at any other version it is refused with 412.",
        }));
    }
    parameters.push(json!({
        "name": DRY_RUN, "in": "query", "required": false, "schema": { "type": "boolean", "default": false },
        "description": "Only say what would be done: the events that would be written, or the problem by which it would be refused. Nothing is sent.",
    }));
    let refers = |name: &str| json!({ "$ref": format!("{SCHEMAS}{name}") });
    let outcome = json!({ "application/json": { "schema": refers("CommandOutcome") } });
    let either = json!({ "application/json": { "schema": { "anyOf": [refers("CommandOutcome"), refers("Would")] } } });
    let made = json!({ "description": "It is made; Location says where it is read", "content": outcome });
    let done = json!({ "description": "It is done; without events, it was so already. Of a dry run: what would be", "content": either });
    json!({
        "summary": words,
        "description": format!(
            "Needs the scope {}. The actor of the command is the caller.",
            route.scope.word()
        ),
        "operationId": operation_id("post", route.path),
        "parameters": parameters,
        "requestBody": { "required": true, "content": { "application/json": { "schema": body(route, command) } } },
        "responses": responses([
            ("200", done),
            ("201", made),
            ("202", under_way()),
        ]),
    })
}

/// What is answered as long as a command waits for its worker.
fn under_way() -> Value {
    json!({
        "description": "Its worker has not come to it yet; Location says where its answer will be",
        "headers": {
            "Location": { "schema": { "type": "string" } },
            "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds" },
        },
        "content": { "application/json": { "schema": { "$ref": format!("{SCHEMAS}CommandOutcome") } } },
    })
}

/// What is more than one command.
fn post_expire() -> Value {
    let schema = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("{SCHEMAS}{name}") } } });
    json!({
        "summary": "Expire orders now: these, those of a customer, or all that are due",
        "description": format!("Needs the scope {}. The actor of each command is the caller.", Scope::Operate.word()),
        "operationId": operation_id("post", expire::PATH),
        "parameters": [idempotency_key()],
        "requestBody": { "required": true, "content": schema("ExpireOrders") },
        "responses": responses([
            ("200", json!({ "description": "What came of each", "content": schema("ExpiredOrders") })),
        ]),
    })
}

/// What an operator does that is no command.
struct Verb {
    path: &'static str,
    summary: &'static str,
    asked: &'static str,
    answer: &'static str,
}

const VERBS: [Verb; 5] = [
    Verb {
        path: operators::REDRIVE,
        summary: "Have dead letters handled again: these, or all that are open with a code, of a service or of a stream",
        asked: "ActOnLetters",
        answer: "LettersRedriven",
    },
    Verb {
        path: operators::SET_ASIDE,
        summary: "Set dead letters aside that nobody is to send again",
        asked: "ActOnLetters",
        answer: "LettersSetAside",
    },
    Verb {
        path: operators::PAUSE,
        summary: "Have a consumer of the fleet stand still for a while",
        asked: "PauseConsumer",
        answer: "ConsumerPaused",
    },
    Verb { path: operators::RESUME, summary: "Let a consumer go on", asked: "Act", answer: "ConsumerPaused" },
    Verb {
        path: operators::UNBLOCK,
        summary: "End a session of the database that holds the log up",
        asked: "Act",
        answer: "SessionEnded",
    },
];

fn post_verb(verb: &Verb) -> Value {
    let schema = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("{SCHEMAS}{name}") } } });
    let words = "It is noted with the caller and his reason. 404 where the gateway has no login of the database for this. Numbers are numbers.";
    let mut parameters = in_path(verb.path);
    parameters.push(idempotency_key());
    json!({
        "summary": verb.summary,
        "description": format!("Needs the scope {}. {words}", Scope::Operate.word()),
        "operationId": operation_id("post", verb.path),
        "parameters": parameters,
        "requestBody": { "required": true, "content": schema(verb.asked) },
        "responses": responses([
            ("200", json!({ "description": "What came of it, also of what was refused", "content": schema(verb.answer) })),
        ]),
    })
}

/// What is of no order.
fn get_diagnosis() -> Value {
    let content = json!({ "application/json": { "schema": { "$ref": format!("{SCHEMAS}Diagnosis") } } });
    json!({
        "summary": "What is wrong with the fleet, the worst first: why, what is at stake, what shows it, and what to do",
        "description": format!("Needs the scope {}. The same as holdfast diagnose --json.", Scope::Operate.word()),
        "operationId": operation_id("get", diagnosis::PATH),
        "parameters": [],
        "responses": responses([("200", json!({ "description": "What was found", "content": content }))]),
    })
}

/// What changes nothing, and so has no key.
fn post_link() -> Value {
    let content = json!({ "application/json": { "schema": { "$ref": format!("{SCHEMAS}EventLink") } } });
    json!({
        "summary": "A link for browsers to the events of an order, which is good for five minutes",
        "description": format!(
            "Needs the scope {}. For EventSource, which cannot send a header. 404 where the gateway has no secret for links.",
            Scope::OrdersRead.word()
        ),
        "operationId": operation_id("post", link::PATH),
        "parameters": in_path(link::PATH),
        "responses": responses([("200", json!({ "description": "The link", "content": content }))]),
    })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": true,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "description": "Names this request for ever: sent again under it, it is answered again and done once.",
    })
}

/// The command without what the path says, and without who asks.
fn body(route: &commands::Route, command: &Value) -> Value {
    let mut body = command.clone();
    if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
        properties
            .retain(|name, _| name != "actor" && name != EXPECTED && !route.path.contains(&format!("{{{name}}}")));
    }
    if let (Some(why), Some(body)) = (route.why, body.as_object_mut()) {
        body.insert("required".to_owned(), json!([why]));
    }
    body
}

/// What an operation answers, and what every one may answer besides.
fn responses<const N: usize>(own: [(&str, Value); N]) -> Map<String, Value> {
    let content = json!({ "application/problem+json": { "schema": { "$ref": format!("{SCHEMAS}Document") } } });
    let problem = |words: &str| json!({ "description": words, "content": content.clone() });
    let again = json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds" } });
    let later = |words: &str| json!({ "description": words, "content": content.clone(), "headers": again.clone() });
    let every = [
        ("503", later("It was not done now: too much is under way, or something that it needs is away")),
        ("504", later("It took longer than any request may take; it may be done all the same")),
        ("default", problem("It was not done, and why")),
    ];
    own.into_iter().chain(every).map(|(status, response)| (status.to_owned(), response)).collect()
}

fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|name| name.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let schema = if is_uuid(name) {
            json!({ "type": "string", "format": "uuid" })
        } else {
            json!({ "type": "string", "minLength": 1 })
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    };
    names.map(parameter).collect()
}

/// A parameter of a list.
fn in_list(name: &str) -> Value {
    let (schema, words) = match name {
        "customer_id" => (json!({ "type": "string", "minLength": 1 }), "Whose orders"),
        "reference" => (
            json!({ "type": "string", "minLength": 1, "maxLength": 64 }),
            "The order that has this number of the shop's own. Give this alone",
        ),
        "placed_from" => (json!({ "type": "string", "format": "date-time" }), "Only those placed then or later"),
        "placed_before" => (json!({ "type": "string", "format": "date-time" }), "Only those placed before then"),
        "limit" => (json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }), "How many at most"),
        "starting_after" => (json!({ "type": "string", "format": "uuid" }), "The last order of a page: the next page"),
        _ => (json!({ "type": "string", "format": "uuid" }), "The first order of a page: the page before it"),
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": words })
}

/// `post_orders_cancel`
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split('/').filter(|word| !word.is_empty() && *word != "v1" && !word.starts_with('{'));
    let is_one = path.ends_with('}');
    std::iter::once(method).chain(words).chain(is_one.then_some("one")).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SCHEMAS, document};

    fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        found.extend(value.get("$ref").and_then(serde_json::Value::as_str).map(str::to_owned));
        value.as_object().into_iter().flat_map(|entries| entries.values()).for_each(|part| references(part, found));
        value.as_array().into_iter().flatten().for_each(|part| references(part, found));
    }

    #[test]
    fn whatever_the_document_refers_to_is_in_it() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 15, "{found:?}");
        for reference in found {
            let name = reference.strip_prefix(SCHEMAS).unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{reference}");
        }
    }

    #[test]
    fn the_contract_speaks_in_the_document() {
        let document = document();
        let post = |path: &str| &document["paths"][path]["post"];
        let body = |path: &str| &post(path)["requestBody"]["content"]["application/json"]["schema"];
        let (place, adjust) = (body("/v1/orders"), body("/v1/products/{sku}/adjust"));
        assert_eq!(post("/v1/orders")["summary"], "place an order and hold what it needs while the buyer pays.");
        // What the path says, and who asks, is no part of the body.
        let names: Vec<&String> = adjust["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["delta", "reason"]);
        assert_eq!(adjust["required"], serde_json::json!(["reason"]));
        let customer = &place["properties"]["customer_id"];
        assert!(customer["description"].as_str().unwrap().contains("1 to 128 characters"), "{customer}");
        assert_eq!(place["additionalProperties"], false);
        assert_eq!(place["properties"]["lines"]["items"]["$ref"], format!("{SCHEMAS}holdfast.orders.v1.OrderLine"));
        assert!(document["components"]["schemas"]["Order"]["properties"]["money"].is_object());
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = document();
        let mut names = BTreeSet::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            }
        }
        assert_eq!(names.len(), 44);
    }
}
