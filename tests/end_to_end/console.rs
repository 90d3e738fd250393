//! The console as a browser uses it without script: signing in, pages, and acts that are done once, by whoever may.

use std::{collections::BTreeMap, fs};

use holdfast_tests::{
    TestFleet, eventually,
    gateway::{Answer, Gateway, READER, TOKEN},
};
use serde_json::{Value, json};

use crate::letters::poisoned;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A gateway with a console.
async fn gateway(fleet: &TestFleet) -> Gateway {
    let secret = fleet.dir().join("console_secret");
    fs::write(&secret, SECRET).unwrap();
    let login = fleet.processes().await.operator_login().await.unwrap();
    let settings = [
        ("HOLDFAST_GATEWAY_CONSOLE_SECRET", secret.to_str().unwrap()),
        ("HOLDFAST_GATEWAY_CONSOLE_ENVIRONMENT", "shop-eu PRODUCTION"),
        ("HOLDFAST_GATEWAY_OPERATOR_URL", &login),
    ];
    Gateway::start(fleet, &settings).await.unwrap()
}

/// Somebody with a browser.
struct Browser<'a> {
    gateway: &'a Gateway,
    cookie: String,
}

/// Fields as a form sends them.
fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

impl<'a> Browser<'a> {
    async fn signed_in(gateway: &'a Gateway, token: &str) -> Self {
        let answer = post(gateway, "sign-in", "", &[("token", token), ("next", "")]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "./"), "{answer:?}");
        let set = answer.header("set-cookie");
        assert!(set.contains("; HttpOnly; SameSite=Strict; Secure") && !set.contains(token), "{set}");
        Self { gateway, cookie: set.split(';').next().unwrap().to_owned() }
    }

    async fn get(&self, page: &str) -> Answer {
        let headers = [("cookie", self.cookie.as_str())];
        self.gateway.request("GET", &format!("/console/{page}"), &headers, "").await.unwrap()
    }

    async fn post(&self, page: &str, fields: &[(&str, &str)]) -> Answer {
        post(self.gateway, page, &self.cookie, fields).await
    }

    /// Opens a form, and gives what it sends without being filled in.
    async fn hidden(&self, page: &str) -> BTreeMap<String, String> {
        let answer = self.get(page).await;
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        hidden(&answer)
    }
}

/// What the form of a page sends without being filled in.
fn hidden(answer: &Answer) -> BTreeMap<String, String> {
    let value = |line: &str, name: &str| Some(line.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
    let lines = answer.text.lines().filter(|line| line.contains("type=\"hidden\""));
    lines.filter_map(|line| Some((value(line, "name")?, value(line, "value")?))).collect()
}

async fn post(gateway: &Gateway, page: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
    let headers =
        [("cookie", cookie), ("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")];
    gateway.request("POST", &format!("/console/{page}"), &headers, &form(fields)).await.unwrap()
}

/// Places an order that waits for its money, or is paid, and gives its id.
async fn place(gateway: &Gateway, key: &str, method: &str, customer: &str) -> String {
    let body = json!({
        "customer_id": customer, "payment_method": method,
        "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
    });
    let placed = gateway.post("/v1/orders", key, &body).await.unwrap();
    placed.json.get("order_id").and_then(Value::as_str).unwrap_or_else(|| panic!("{placed:?}")).to_owned()
}

async fn reaches(gateway: &Gateway, order: &str, status: &str) {
    let is = || async {
        Ok(gateway.get(&format!("/v1/orders/{order}")).await?.json.get("status").is_some_and(|is| is == status))
    };
    eventually(&format!("the order is {status}"), is).await.unwrap();
}

#[tokio::test]
async fn an_act_says_first_what_would_happen_and_is_done_once_with_its_reason() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = gateway(&fleet).await;
    let order = place(&gateway, "1", "sandbox:never", "customer-42").await;
    reaches(&gateway, &order, "reserved").await;
    let page = format!("orders/{order}");

    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let shown = browser.get(&page).await;
    assert!(shown.status == 200 && shown.text.contains("◔</span> reserved"), "{}", shown.text);
    for word in ["shop-eu PRODUCTION", "OrderPlaced", "StockHeld", "Cancel the order…", "12.50 EUR", "<svg"] {
        assert!(shown.text.contains(word), "{word}: {}", shown.text);
    }
    assert!(shown.header("content-security-policy").starts_with("default-src 'none'"), "{shown:?}");
    let offer =
        shown.text.split("href=\"../act/cancel?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let ask = format!("act/cancel?{offer}");
    let hidden = browser.hidden(&ask).await;
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        hidden.clone().into_iter().chain(more).collect()
    };
    let send = async |fields: Vec<(String, String)>| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.post("act/cancel", &fields).await
    };
    let preview = send(with(&[("preview", "yes")])).await;
    assert!(
        preview.status == 200 && preview.text.contains(&format!("OrderCancelled in order-{order}")),
        "{}",
        preview.text
    );
    let unsaid = send(with(&[("reason", "so")])).await;
    assert!(unsaid.status == 422 && unsaid.text.contains("say why, in 8 letters or more"), "{}", unsaid.text);
    reaches(&gateway, &order, "reserved").await;

    let done = send(with(&[("reason", "changed his mind")])).await;
    assert_eq!(done.status, 303, "{done:?}");
    let again = send(with(&[("reason", "changed his mind")])).await;
    assert_eq!(again.header("location"), done.header("location"), "a button that is pressed twice acts once");
    let (back, receipt) = done.header("location").split_once('?').unwrap();
    assert_eq!(back, format!("../{page}"));
    let shown = browser.get(&format!("{page}?{receipt}")).await;
    assert!(shown.text.contains("<strong>Done.</strong> Written: OrderCancelled"), "{}", shown.text);
    let events = gateway.get(&format!("/v1/orders/{order}/events")).await.unwrap().json;
    let cancelled: Vec<&Value> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "holdfast.orders.v1.OrderCancelled")
        .collect();
    assert_eq!((cancelled.len(), &cancelled[0]["data"]["actor"]), (1, &json!("token:shop")), "{events:#}");
    assert_eq!(cancelled[0]["data"]["note"], "changed his mind");

    // Whoever has seen an older version is told, and what he typed stays.
    let late = send(
        hidden
            .clone()
            .into_iter()
            .chain([("key".to_owned(), "another".to_owned()), ("reason".to_owned(), "wrong size <b>".to_owned())])
            .collect(),
    )
    .await;
    assert!(
        late.status == 412 && late.text.contains("WRONG_VERSION") && late.text.contains("wrong size &#60;b&#62;"),
        "{}",
        late.text
    );
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn whoever_has_not_signed_in_does_so_and_goes_on_where_he_wanted() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = gateway(&fleet).await;
    let order = "7b1f0a52-3c8e-4d3a-9a51-0e9f6f2d8c11";
    let page = format!("orders/{order}");
    let browser = Browser { gateway: &gateway, cookie: String::new() };
    let stranger = browser.get(&page).await;
    let asked = format!("../sign-in?next=orders%2F{order}");
    assert_eq!((stranger.status, stranger.header("location")), (303, asked.as_str()), "{stranger:?}");
    let wrong = post(&gateway, "sign-in", "", &[("token", "nobody's")]).await;
    assert!(wrong.status == 403 && wrong.text.contains("nobody has this token"), "{wrong:?}");
    let next = post(&gateway, "sign-in", "", &[("token", TOKEN), ("next", &page)]).await;
    assert_eq!((next.status, next.header("location")), (303, page.as_str()), "{next:?}");
}

#[tokio::test]
async fn what_is_refused_is_corrected_in_the_same_form_and_a_consumer_is_paused_from_a_page() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = gateway(&fleet).await;
    let order = place(&gateway, "1", "sandbox:succeed", "customer-42").await;
    reaches(&gateway, &order, "paid").await;
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let shown = browser.get(&format!("orders/{order}")).await;
    let offer =
        shown.text.split("href=\"../act/refund?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let ask = browser.get(&format!("act/refund?{offer}")).await;
    assert!(ask.text.contains("<dt>left</dt><dd><bdi>12.50 EUR</bdi>"), "{}", ask.text);
    let send = async |act: &str, form: &Answer, more: &[(&str, &str)]| {
        let hidden = hidden(form);
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        browser.post(&format!("act/{act}"), &hidden.chain(more.iter().copied()).collect::<Vec<_>>()).await
    };
    let reason = ("reason", "wrong size");
    let refused = send("refund", &ask, &[("amount", "999"), reason]).await;
    assert!(refused.status == 409 && refused.text.contains("REFUND_EXCEEDS_PAYMENT"), "{}", refused.text);
    assert!(refused.text.contains("wrong size") && !refused.text.contains("Idempotency-Key"), "{}", refused.text);
    let done = send("refund", &refused, &[("amount", "5.00"), reason]).await;
    assert_eq!(done.status, 303, "{}", done.text);
    reaches(&gateway, &order, "partially_refunded").await;
    assert!(browser.get(&format!("orders/{order}")).await.text.contains("5.00 EUR"));

    let ask = browser.get("act/pause?consumer=inventory-events").await;
    let minutes = ("minutes", "10");
    let preview = send("pause", &ask, &[minutes, ("preview", "yes")]).await;
    assert!(preview.status == 200 && preview.text.contains("inventory-events would be paused"), "{}", preview.text);
    let done = send("pause", &ask, &[minutes, ("reason", "an index is made")]).await;
    assert_eq!((done.status, done.header("location")), (303, "../fleet"), "{}", done.text);
    let is = |state: &'static str| {
        let browser = &browser;
        move || async move {
            let text = browser.get("fleet").await.text;
            let row = text.lines().find(|line| line.contains("<td>inventory-events</td>")).unwrap_or_default();
            Ok(row.contains(state))
        }
    };
    eventually("the page says that it is paused", is("paused")).await.unwrap();
    let ask = browser.get("act/resume?consumer=inventory-events").await;
    assert_eq!(send("resume", &ask, &[("reason", "the index is there")]).await.status, 303);
    eventually("the page says that it goes on", is("</span> goes")).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Each act with what it is about, of this order. What it is about need not be there: who may not is refused before.
fn acts(order: &str) -> Vec<(&'static str, String)> {
    let of_order = format!("order_id={order}&version=1&currency=EUR");
    let of_payment = format!("order_id={order}&payment_id={order}&refund_id={order}&provider_event_id=evt_1");
    vec![
        ("cancel", of_order.clone()),
        ("refund", of_order.clone()),
        ("expire", of_order.clone()),
        ("reinstate", of_order),
        ("resolve-refund", of_payment.clone()),
        ("resolve-report", of_payment),
        ("receive", "sku=MUG".to_owned()),
        ("adjust", "sku=MUG".to_owned()),
        ("close-round", format!("round_id={order}")),
        ("cancel-round", format!("round_id={order}")),
        ("redrive", "letter=inventory-1".to_owned()),
        ("set-aside", "letter=inventory-1".to_owned()),
        ("pause", "consumer=inventory-events".to_owned()),
        ("resume", "consumer=inventory-events".to_owned()),
    ]
}

const PAGES: [(&str, &str); 10] = [
    ("", "orders:read"),
    ("orders", "orders:read"),
    ("decide", "orders:read"),
    ("stock", "orders:read"),
    ("rounds", "orders:read"),
    ("search?text=MUG", "orders:read"),
    ("letters", "operate"),
    ("diagnosis", "operate"),
    ("fleet", "operate"),
    ("log", "audit:read"),
];

/// Who may what: roles are sets of scopes, and an act needs one.
const ROLES: [(&str, &[&str]); 5] = [
    ("viewer", &["orders:read"]),
    ("support", &["orders:read", "orders:write"]),
    ("auditor", &["orders:read", "audit:read"]),
    ("owner", &["orders:read", "catalog:write"]),
    ("operator", &["orders:read", "orders:write", "catalog:write", "refunds:decide", "operate", "audit:read"]),
];

const NEEDS: [(&str, &[&str]); 5] = [
    ("orders:write", &["cancel", "refund"]),
    ("operate", &["expire", "reinstate", "redrive", "set-aside", "pause", "resume"]),
    ("refunds:decide", &["resolve-refund", "resolve-report"]),
    ("catalog:write", &["receive", "adjust", "close-round", "cancel-round"]),
    ("audit:read", &[]),
];

fn tokens_of_roles(fleet: &TestFleet) {
    use std::fmt::Write as _;
    let file = fleet.dir().join("tokens.toml");
    let mut text = fs::read_to_string(&file).unwrap();
    for (role, _) in ROLES {
        let hash = holdfast_tests::gateway::sha256(role);
        writeln!(text, "[[token]]\ncaller = \"{role}\"\nsha256 = \"{hash}\"\nscopes = [\"role:{role}\"]").unwrap();
    }
    fs::write(file, text).unwrap();
}

#[tokio::test]
async fn every_page_and_every_act_is_for_whoever_has_its_scope() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = gateway(&fleet).await;
    tokens_of_roles(&fleet);
    let known = || async { Ok(post(&gateway, "sign-in", "", &[("token", "operator")]).await.status == 303) };
    eventually("the file of tokens is read again", known).await.unwrap();
    let order = place(&gateway, "1", "sandbox:never", "customer-42").await;
    reaches(&gateway, &order, "reserved").await;
    let acts = acts(&order);
    let mut table = String::from("act or page");
    ROLES.iter().for_each(|(role, _)| table.push_str(&format!(" | {role}")));
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for (role, scopes) in ROLES {
        let browser = Browser::signed_in(&gateway, role).await;
        let product = browser.get("stock/MUG").await;
        let reads_the_log = scopes.contains(&"audit:read");
        assert_eq!(product.text.contains("StockReceived"), reads_the_log, "{role}: {}", product.text);
        for (page, scope) in PAGES {
            let answer = browser.get(page).await;
            let may = scopes.contains(&scope);
            let is_let_in = answer.status == 200 || answer.status == 303;
            assert_eq!((is_let_in, !may), (may, answer.status == 403), "{role}, {page}: {answer:?}");
            lines.entry(format!("/{page}")).or_default().push_str(if may { " | yes" } else { " | -" });
            assert!(may || answer.text.contains(&format!("has no scope {scope}")), "{}", answer.text);
        }
        for (act, about) in &acts {
            let scope = NEEDS.iter().find(|(_, acts)| acts.contains(act)).unwrap().0;
            let may = scopes.contains(&scope);
            let asked = browser.get(&format!("act/{act}?{about}")).await;
            assert_eq!(asked.status, if may { 200 } else { 403 }, "{role}, {act}: {asked:?}");
            if !may {
                // The form that is not shown is sent all the same.
                let fields =
                    [("reason", "because I say so"), ("order_id", order.as_str()), ("sku", "MUG"), ("key", "k")];
                let sent = browser.post(&format!("act/{act}"), &fields).await;
                assert_eq!(sent.status, 403, "{role}, {act}: {sent:?}");
            }
            lines.entry((*act).to_owned()).or_default().push_str(if may { " | yes" } else { " | -" });
        }
    }
    println!("{table}");
    lines.iter().for_each(|(what, who)| println!("{what}{who}"));
    reaches(&gateway, &order, "reserved").await;
}

#[tokio::test]
async fn forms_of_other_sites_do_nothing_and_a_token_that_is_taken_away_is_good_for_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = gateway(&fleet).await;
    let order = place(&gateway, "1", "sandbox:never", "customer-42").await;
    reaches(&gateway, &order, "reserved").await;
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let body = form(&[("order_id", &order), ("reason", "changed his mind"), ("key", "k")]);
    for from in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("accept", "*/*")] {
        let headers = [("cookie", browser.cookie.as_str()), from];
        let sent = gateway.request("POST", "/console/act/cancel", &headers, &body).await.unwrap();
        assert!(sent.status == 403 && sent.text.contains("not sent by a page of this console"), "{sent:?}");
    }
    reaches(&gateway, &order, "reserved").await;
    // A cookie is no token of the API, and is good for nothing when it is changed.
    let api = gateway.request("GET", "/v1/orders", &[("cookie", &browser.cookie)], "").await.unwrap();
    assert_eq!(api.status, 401);
    let forged = Browser { gateway: &gateway, cookie: format!("{}A", browser.cookie) };
    assert_eq!(forged.get("orders").await.status, 303);

    let out = browser.post("sign-out", &[]).await;
    assert!(out.status == 303 && out.header("set-cookie").contains("Max-Age=0"), "{out:?}");
    let reader = Browser::signed_in(&gateway, READER).await;
    assert_eq!(reader.get("orders").await.status, 200);
    fs::write(fleet.dir().join("tokens.toml"), "").unwrap();
    let gone = || async { Ok(reader.get("orders").await.status == 303) };
    eventually("the session of a token that is gone is over", gone).await.unwrap();
}

#[tokio::test]
async fn whatever_others_have_chosen_is_shown_as_text_and_every_link_is_relative() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = gateway(&fleet).await;
    let script = "<script>alert(1)</script>";
    let product = json!({ "sku": "EVIL", "name": format!("{script} \u{5d0}\u{5d1} 🫖 {}", "x".repeat(100)) });
    assert_eq!(gateway.post("/v1/products", "p", &product).await.unwrap().status, 200);
    let customer = format!("\"><img src=x onerror=alert(1)> {}", "я".repeat(60));
    let order = place(&gateway, "1", "sandbox:succeed", &customer).await;
    reaches(&gateway, &order, "paid").await;
    let refund = json!({ "note": format!("{script} & more") });
    let refunded = gateway.post(&format!("/v1/orders/{order}/refunds"), "r", &refund).await.unwrap();
    let refund = refunded.json["refund_id"].as_str().unwrap_or_else(|| panic!("{refunded:?}")).to_owned();
    reaches(&gateway, &order, "refunded").await;
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let pages = [
        String::new(),
        "orders".to_owned(),
        format!("orders/{order}"),
        format!("orders/{order}/refunds/{refund}"),
        "stock".to_owned(),
        "stock/EVIL".to_owned(),
        "stock/%3Cscript%3E".to_owned(),
        "search?text=%3Cscript%3E".to_owned(),
        "orders?customer_id=%3Cscript%3E".to_owned(),
        "letters/%3Cscript%3E".to_owned(),
    ];
    for page in pages {
        let answer = browser.get(&page).await;
        assert!(answer.status == 200 || answer.status == 400 || answer.status == 404, "{page}: {answer:?}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{page}");
        let text = &answer.text;
        assert!(
            !text.contains("<script>") && !text.contains("<img") && !text.contains(" onerror=alert(1)>"),
            "{page}: {text}"
        );
        assert_eq!(text.matches("<script ").count(), 2, "{page}: {text}");
        for word in [" style=", "hx-on", "javascript:", "href=\"/", "action=\"/", "src=\"/", "href=\"http"] {
            assert!(!text.contains(word), "{page} has {word}: {text}");
        }
        assert!(text.len() < 120_000, "{page} has {} bytes", text.len());
    }
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_read_tried_and_seen_to() {
    let fleet = poisoned().await;
    let gateway = gateway(&fleet).await;
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let list = browser.get("letters").await;
    assert!(list.status == 200 && list.text.contains("href=\"./letters/inventory-1\""), "{}", list.text);
    let letter = browser.get("letters/inventory-1").await;
    assert!(
        letter.text.contains("holdfast.inventory.v1.ReceiveStock") && letter.text.contains("product-POISON"),
        "{}",
        letter.text
    );
    let told = gateway.get("/v1/admin/letters?service=inventory").await.unwrap().json;
    assert_eq!(
        (&told["data"][0]["letter"], &told["data"][0]["kind"]),
        (&json!("inventory-1"), &json!("command")),
        "{told:#}"
    );

    let hidden = browser.hidden("act/redrive?letter=inventory-1").await;
    let asked = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        hidden.clone().into_iter().chain(more).collect()
    };
    let send = async |act: &str, fields: Vec<(String, String)>| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.post(&format!("act/{act}"), &fields).await
    };
    let preview = send("redrive", asked(&[("preview", "yes")])).await;
    assert!(preview.text.contains("StockReceived in product-POISON"), "{}", preview.text);
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 0);
    let done = send("set-aside", asked(&[("reason", "it was a test of ours")])).await;
    assert_eq!((done.status, done.header("location")), (303, "../letters/inventory-1"), "{done:?}");
    assert!(browser.get("letters/inventory-1").await.text.contains("Over since"));
    let late = send("redrive", asked(&[("reason", "it was mended"), ("key", "another")])).await;
    assert!(late.status == 409 && late.text.contains("it was settled at"), "{}", late.text);
    assert_eq!(gateway.get("/v1/admin/letters").await.unwrap().json["data"], json!([]));
    let by = "select count(*) from log.acts where actor = 'token:shop' and reason = 'it was a test of ours'";
    assert_eq!(fleet.number(by).await.unwrap(), 1);
}

#[tokio::test]
async fn a_list_can_be_had_as_a_file_and_a_command_says_what_it_would_do() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let gateway = gateway(&fleet).await;
    for number in 0..103 {
        place(&gateway, &number.to_string(), "sandbox:never", if number == 7 { "=1+1" } else { "customer-42" }).await;
    }
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let file = browser.get("orders.csv").await;
    assert!(
        file.header("content-type").starts_with("text/csv")
            && file.header("content-disposition").contains("orders.csv")
    );
    assert_eq!(file.text.matches(",customer-42,").count(), 102, "{}", file.text);
    assert!(file.text.contains("order_id,reference,customer_id,") && file.text.contains(",'=1+1,"), "{}", file.text);
    let one = browser.get("orders.csv?customer_id=%3D1%2B1").await;
    assert_eq!(one.text.matches("1250,EUR").count(), 1, "{}", one.text);
    let stock = browser.get("stock.csv").await;
    assert!(stock.text.contains("MUG,") && stock.text.contains(",1000,"), "{}", stock.text);

    let take = json!({ "delta": "-2000", "reason": "count" });
    let would = gateway.post("/v1/products/MUG/adjust?dry_run=true", "k", &take).await.unwrap();
    let refused = would.json["detail"].as_str().unwrap_or_default();
    assert!(
        would.status == 409
            && would.code() == "WOULD_BREAK_HOLDS"
            && !refused.contains("ce-id")
            && !refused.contains("Key"),
        "{would:?}"
    );
    let add = json!({ "delta": "5", "reason": "count" });
    let would = gateway.post("/v1/products/MUG/adjust?dry_run=true", "k", &add).await.unwrap();
    assert_eq!(
        (&would.json["write"][0]["event"], would.json["write"].as_array().unwrap().len()),
        (&json!("StockAdjusted"), 1)
    );
    for (path, body) in [
        (
            "/v1/wallets/customer-42/top-up",
            json!({ "amount": { "minor_units": "5", "currency": "EUR" }, "note": "cash" }),
        ),
        ("/v1/coupons", json!({ "coupon_code": "SPRING", "offer": { "basis_points": 1_000, "currency": "EUR" } })),
    ] {
        let would = gateway.post(&format!("{path}?dry_run=true"), "k", &body).await.unwrap();
        assert!(would.status == 200 && would.json["write"][0]["version"] == 1, "{path}: {would:?}");
    }
    // The key is still free, and nothing was written.
    let done = gateway.post("/v1/products/MUG/adjust", "k", &add).await.unwrap();
    assert_eq!(
        (done.status, &done.json["events"], done.header("idempotent-replayed")),
        (200, &json!(["holdfast.inventory.v1.StockAdjusted"]), ""),
        "{done:?}"
    );
    assert_eq!(fleet.number("select adjusted from inventory.stock where sku = 'MUG'").await.unwrap(), 5);
    let neither = gateway.post("/v1/products/MUG/adjust?dry_run=perhaps", "k", &add).await.unwrap();
    assert_eq!((neither.status, neither.code()), (400, "INVALID_PARAMETER"));
}

#[tokio::test]
async fn what_is_no_page_is_told_so_by_a_page() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = gateway(&fleet).await;
    let browser = Browser::signed_in(&gateway, TOKEN).await;
    let answers = [(browser.get("no/such/page").await, 404), (browser.post("orders", &[]).await, 405)];
    for (answer, status) in answers {
        assert_eq!((answer.status, answer.header("content-type")), (status, "text/html; charset=utf-8"), "{answer:?}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{answer:?}");
    }
}

#[tokio::test]
async fn without_a_secret_there_is_no_console() {
    let fleet = TestFleet::start().await.unwrap();
    let bare = Gateway::start(&fleet, &[]).await.unwrap();
    for page in ["", "orders", "sign-in"] {
        let answer = bare.request("GET", &format!("/console/{page}"), &[], "").await.unwrap();
        assert!(answer.status == 404 && answer.text.contains("gateway.console_secret is empty"), "{page}: {answer:?}");
    }
}
