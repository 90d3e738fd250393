//! What mails say, and how a template that is broken is found.

use std::fs;

use super::{Templates, date};
use crate::about::{Kind, sample};

#[test]
fn what_is_built_in_tells_of_a_payment_and_of_a_refund() {
    let templates = Templates::read("", "Europe/Berlin").unwrap();
    let paid = templates.render(Kind::Paid, &sample(Kind::Paid)).unwrap();
    assert_eq!(paid.subject, "Your order R-1 is paid");
    let text = "Thank you. Your order R-1 was paid on 1 January 1970, 01:00 CET.

2 x MUG-01, 12.50 EUR each: 25.00 EUR
1 shares, 25.00 EUR each: 25.00 EUR
Coupon SPRING: -25.00 EUR

Paid: 25.00 EUR";
    assert_eq!(paid.text, text);
    assert!(paid.html.contains("<strong>R-1</strong>") && paid.html.contains("<td>-25.00 EUR</td>"), "{}", paid.html);
    let refunded = templates.render(Kind::Refunded, &sample(Kind::Refunded)).unwrap();
    assert_eq!(refunded.subject, "Your refund for order R-1");
    let text = "25.00 EUR of your order R-1 went back to you on 1 January 1970, 01:00 CET.

Returned: 2 x MUG-01
Returned: your shares

It may take your bank some days to show it.";
    assert_eq!(refunded.text, text);
}

#[test]
fn a_shop_replaces_templates_one_by_one_and_may_share_parts() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("paid.subject"), "Bezahlt:\n  {{ order.number }}\n").unwrap();
    fs::write(dir.path().join("paid.html"), "{% include '_head.html' %}{{ at | date('%d.%m.%Y') }}").unwrap();
    fs::write(dir.path().join("_head.html"), "<h1>{{ order.coupon }}</h1>").unwrap();
    let templates = Templates::read(dir.path().to_str().unwrap(), "UTC").unwrap();
    let words = templates.render(Kind::Paid, &sample(Kind::Paid)).unwrap();
    // A subject is one line, whatever its template has.
    assert_eq!(words.subject, "Bezahlt: R-1");
    assert_eq!(words.html, "<h1>SPRING</h1>01.01.1970");
    assert!(words.text.starts_with("Thank you."));
}

#[test]
fn a_template_that_is_broken_is_named_with_its_line() {
    let broken = [
        ("paid.txt", "one\ntwo {{ order.numbr }}\n", "paid.txt:2"),
        ("paid.html", "one\n\n{% for line in %}", "paid.html:3"),
        ("refunded.subject", "{{ at | date('%!') }}", "refunded.subject:1"),
        ("payed.txt", "", "payed.txt: no mail has such a template"),
    ];
    for (name, source, said) in broken {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), source).unwrap();
        let error = Templates::read(dir.path().to_str().unwrap(), "UTC").unwrap_err();
        assert!(error.contains(said) && error.contains(dir.path().to_str().unwrap()), "{error}");
    }
    assert!(Templates::read("", "Europe/Atlantis").unwrap_err().contains("Europe/Atlantis"));
}

#[test]
fn what_a_shop_calls_its_order_cannot_become_markup() {
    let mut story = sample(Kind::Paid);
    story.paid = Some("<script>".to_owned());
    let words = Templates::read("", "UTC").unwrap().render(Kind::Paid, &story).unwrap();
    assert!(words.html.contains("&lt;script&gt;") && words.text.contains("<script>"));
}

#[test]
fn dates_are_by_the_shops_clock_in_summer_and_in_winter() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let on = |at: i64| date(&zone, at * 1_000_000, None).unwrap();
    assert_eq!(on(1_784_635_200), "21 July 2026, 14:00 CEST");
    assert_eq!(on(1_795_784_700), "27 November 2026, 14:05 CET");
}
