//! A mail's bytes: its headers, its parts, and that they are always the same.

use domain::Timestamp;
use lettre::Address;
use uuid::Uuid;

use super::{Sender, bytes};
use crate::{
    about::{About, Kind},
    templates::Words,
};

const AT: Timestamp = Timestamp::from_micros(1_795_784_700_999_999);

fn mail(subject: &str) -> String {
    let sender = Sender::read("Käse & Co <orders@shop.example>", "help@shop.example", "").unwrap();
    let about = About { order_id: Uuid::from_u128(7), kind: Kind::Paid, refund_id: None };
    let words = Words {
        subject: subject.to_owned(),
        text: format!("Grüße\n.\n{}\n", "long ".repeat(40)),
        html: "<p>Grüße</p>".to_owned(),
    };
    let to: Address = "ann@mail.example".parse().unwrap();
    String::from_utf8(bytes(&sender, &about, AT, &to, &words).unwrap()).unwrap()
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {mail}"));
    line.trim_start_matches(": ")
}

#[test]
fn a_mail_has_the_headers_that_it_needs_and_no_others() {
    let mail = mail("Your order R-1 is paid");
    assert_eq!(header(&mail, "Message-ID"), "<paid.00000000-0000-0000-0000-000000000007@shop.example>");
    assert_eq!(header(&mail, "Date"), "Fri, 27 Nov 2026 13:05:00 +0000");
    assert_eq!(header(&mail, "To"), "ann@mail.example");
    assert_eq!(header(&mail, "Reply-To"), "help@shop.example");
    assert_eq!(header(&mail, "Subject"), "Your order R-1 is paid");
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "X-Auto-Response-Suppress"), "All");
    assert_eq!(header(&mail, "MIME-Version"), "1.0");
    assert!(header(&mail, "From").ends_with("<orders@shop.example>"));
    // It is no mail that anybody has subscribed to.
    assert!(!mail.contains("List-Unsubscribe") && !mail.contains("User-Agent"));
}

#[test]
fn the_text_comes_first_and_then_the_page_both_in_letters_that_every_server_takes() {
    let mail = mail("x");
    assert!(mail.is_ascii() && mail.lines().all(|line| line.len() <= 78), "{mail}");
    let (text, page) = (mail.find("text/plain").unwrap(), mail.find("text/html").unwrap());
    assert!(text < page && mail.contains("multipart/alternative"));
    assert_eq!(mail.matches("Content-Transfer-Encoding: quoted-printable").count(), 2);
    assert!(mail.contains("Gr=C3=BC=C3=9Fe"), "{mail}");
    let boundary = format!(
        "holdfast-{}",
        About { order_id: Uuid::from_u128(7), kind: Kind::Paid, refund_id: None }.mail_id().simple()
    );
    assert_eq!(mail.matches(&format!("--{boundary}")).count(), 3);
}

#[test]
fn a_subject_of_other_letters_is_encoded() {
    let mail = mail("Bezahlt: Bärbels Käse");
    assert!(header(&mail, "Subject").contains("=?utf-8?"), "{mail}");
    assert!(mail.is_ascii());
}

#[test]
fn nobody_adds_a_header_by_what_an_order_is_called() {
    let mail = mail("R-1\r\nBcc: eve@evil.example");
    assert!(!mail.lines().any(|line| line.starts_with("Bcc")), "{mail}");
}

#[test]
fn the_same_mail_is_the_same_in_every_byte() {
    assert_eq!(mail("Bezahlt: Bärbels Käse"), mail("Bezahlt: Bärbels Käse"));
}

#[test]
fn a_sender_that_is_no_address_is_named_with_its_setting() {
    for (from, reply_to, bounces, setting) in [
        ("Shop", "", "", "mail.from"),
        ("a@b.example", "x", "", "mail.reply_to"),
        ("a@b.example", "", "@", "mail.bounces"),
    ] {
        assert!(Sender::read(from, reply_to, bounces).unwrap_err().contains(setting));
    }
    let sender = Sender::read("Shop <orders@shop.example>", "", "bounce@x.example").unwrap();
    assert_eq!((sender.domain(), sender.bounces.to_string().as_str()), ("shop.example", "bounce@x.example"));
}
