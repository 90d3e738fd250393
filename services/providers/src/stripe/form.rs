//! What Stripe is sent, byte by byte. Frozen: a release that writes another form than the one before it, under a key that was used, is
//! refused by Stripe. Whatever must change gets a key of another name.
//!
//! Never sent: `after_expiration` (a copy of an expired page could be paid on), `invoice_creation`, `automatic_tax`, `adjustable_quantity`,
//! `optional_items` (each changes the total behind our back), and the reason of a refund (`fraudulent` puts the buyer on lists).

use domain::Timestamp;
use form_urlencoded::Serializer;

use super::{Capture, Settings, missed::Delivery};
use crate::{CheckoutRequest, RefundRequest};

/// What names the shop in the metadata of what is ours.
pub(super) const FLEET: &str = "holdfast_fleet";

/// What names the payment there.
pub(super) const PAYMENT: &str = "payment_id";

/// What names the order there, by the shop's own number of it.
const ORDER_REFERENCE: &str = "order_reference";

/// What names the refund there.
pub(super) const REFUND: &str = "refund_id";

/// What names the call there that made a refund, for keys are forgotten after a day.
pub(super) const KEY: &str = "key";

/// The form that opens a page over so much, in Stripe's units. A shop's own number of the order goes as it is: its 64 characters at most are within
/// Stripe's limits, 500 for a value of metadata, and more for a name.
pub(super) fn session(request: &CheckoutRequest, units: i64, settings: &Settings) -> String {
    let CheckoutRequest { key: _, payment_id, order_id, order_reference, amount, payment_method: _, ends_at } = request;
    let payment_id = payment_id.to_string();
    let order_id = order_id.to_string();
    let mut metadata = vec![(FLEET, settings.fleet.as_str()), (PAYMENT, &payment_id), ("order_id", &order_id)];
    metadata.extend(order_reference.iter().map(|reference| (ORDER_REFERENCE, reference.as_str())));
    let order = order_reference.as_ref().unwrap_or(&order_id);
    let mut form = Serializer::new(String::new());
    form.append_pair("mode", "payment")
        .append_pair("line_items[0][quantity]", "1")
        .append_pair("line_items[0][price_data][currency]", &amount.currency.as_str().to_lowercase())
        .append_pair("line_items[0][price_data][unit_amount]", &units.to_string())
        .append_pair("line_items[0][price_data][product_data][name]", &format!("Order {order}"))
        .append_pair("client_reference_id", &payment_id);
    append(&mut form, "metadata", &metadata);
    append(&mut form, "payment_intent_data[metadata]", &metadata);
    match settings.capture {
        Capture::AtOnce => {}
        Capture::OnPaid => drop(form.append_pair("payment_intent_data[capture_method]", "manual")),
    }
    form.append_pair("expires_at", &ends_at.as_micros().div_euclid(1_000_000).to_string())
        .append_pair("success_url", &settings.success_url)
        .append_pair("cancel_url", &settings.cancel_url)
        .append_pair("adaptive_pricing[enabled]", "false")
        .append_pair("allowed_payment_method_types[0]", "card")
        .append_pair("allowed_payment_method_types[1]", "link");
    form.finish()
}

/// The form that sends a refund over so much, in Stripe's units.
pub(super) fn refund(request: &RefundRequest, units: i64, fleet: &str) -> String {
    let payment_id = request.payment_id.to_string();
    let refund_id = request.refund_id.to_string();
    let mut form = Serializer::new(String::new());
    form.append_pair("payment_intent", &request.charge_reference).append_pair("amount", &units.to_string());
    let metadata = [(FLEET, fleet), (PAYMENT, &payment_id), (REFUND, &refund_id), (KEY, &request.key)];
    append(&mut form, "metadata", &metadata);
    form.finish()
}

/// What asks for one page of the refunds of a charge.
pub(super) fn refunds_of(payment_intent: &str, after: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("payment_intent", payment_intent).append_pair("limit", "100");
    if let Some(after) = after {
        query.append_pair("starting_after", after);
    }
    query.finish()
}

/// What asks for one page of the events of these kinds since then that somebody to whom they were sent has not taken.
pub(super) fn events(kinds: &[&str], are: Delivery, since: Timestamp, after: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    for kind in kinds {
        query.append_pair("types[]", kind);
    }
    query
        .append_pair("delivery_success", are.taken())
        .append_pair("created[gte]", &since.as_micros().div_euclid(1_000_000).to_string())
        .append_pair("limit", "100");
    if let Some(after) = after {
        query.append_pair("starting_after", after);
    }
    query.finish()
}

fn append(form: &mut Serializer<'_, String>, within: &str, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        form.append_pair(&format!("{within}[{name}]"), value);
    }
}

#[cfg(test)]
mod tests {
    use crate::stripe::{Capture, Settings, missed::Delivery, stage};

    #[test]
    fn the_form_of_a_page_is_frozen() {
        let settings = stage::settings("http://127.0.0.1:1");
        let form = super::session(&stage::checkout(), 1_250, &settings);
        let expected = "mode=payment&line_items%5B0%5D%5Bquantity%5D=1&line_items%5B0%5D%5Bprice_data%5D%5Bcurrency%5D=eur\
            &line_items%5B0%5D%5Bprice_data%5D%5Bunit_amount%5D=1250\
            &line_items%5B0%5D%5Bprice_data%5D%5Bproduct_data%5D%5Bname%5D=Order+00000000-0000-0000-0000-000000000002\
            &client_reference_id=00000000-0000-0000-0000-000000000001\
            &metadata%5Bholdfast_fleet%5D=fleet-1&metadata%5Bpayment_id%5D=00000000-0000-0000-0000-000000000001\
            &metadata%5Border_id%5D=00000000-0000-0000-0000-000000000002\
            &payment_intent_data%5Bmetadata%5D%5Bholdfast_fleet%5D=fleet-1\
            &payment_intent_data%5Bmetadata%5D%5Bpayment_id%5D=00000000-0000-0000-0000-000000000001\
            &payment_intent_data%5Bmetadata%5D%5Border_id%5D=00000000-0000-0000-0000-000000000002\
            &expires_at=1800000000&success_url=https%3A%2F%2Fshop.example%2Fthanks%3Fid%3D%7BCHECKOUT_SESSION_ID%7D\
            &cancel_url=https%3A%2F%2Fshop.example%2Fcart&adaptive_pricing%5Benabled%5D=false\
            &allowed_payment_method_types%5B0%5D=card&allowed_payment_method_types%5B1%5D=link";
        assert_eq!(form, expected);
    }

    fn with_reference(reference: &str) -> String {
        let request = crate::CheckoutRequest { order_reference: Some(reference.to_owned()), ..stage::checkout() };
        super::session(&request, 1_250, &stage::settings("http://127.0.0.1:1"))
    }

    /// What is sent under this name, as Stripe reads it.
    fn sent(form: &str, name: &str) -> Vec<String> {
        let fields = form_urlencoded::parse(form.as_bytes()).filter(|(field, _)| field == name);
        fields.map(|(_, value)| value.into_owned()).collect()
    }

    #[test]
    fn the_form_of_a_page_under_the_shops_own_number_is_frozen_too() {
        let without = super::session(&stage::checkout(), 1_250, &stage::settings("http://127.0.0.1:1"));
        let expected = without
            .replace("=Order+00000000-0000-0000-0000-000000000002&", "=Order+R-1001&")
            .replace(
                "&payment_intent_data%5Bmetadata%5D%5Bholdfast_fleet%5D",
                "&metadata%5Border_reference%5D=R-1001&payment_intent_data%5Bmetadata%5D%5Bholdfast_fleet%5D",
            )
            .replace("&expires_at", "&payment_intent_data%5Bmetadata%5D%5Border_reference%5D=R-1001&expires_at");
        assert_eq!(with_reference("R-1001"), expected);
        assert!(expected.contains("%5Border_id%5D=00000000-0000-0000-0000-000000000002&"), "the order's id stays");
    }

    #[test]
    fn a_number_of_the_shops_own_may_be_any_text_and_is_no_other_field() {
        let longest = "\u{1f9fe}".repeat(64);
        for reference in ["&expires_at=1", "a=b;c", "7/2026 \u{2116}1 +%5D", " ", "]", "\u{202e}1001", &longest] {
            let form = with_reference(reference);
            assert_eq!(sent(&form, "line_items[0][price_data][product_data][name]"), [format!("Order {reference}")]);
            for metadata in ["metadata", "payment_intent_data[metadata]"] {
                let value = sent(&form, &format!("{metadata}[order_reference]"));
                assert_eq!(value, [reference]);
                assert!(value.iter().all(|value| value.encode_utf16().count() <= 500));
            }
            assert_eq!(sent(&form, "expires_at"), ["1800000000"]);
        }
    }

    #[test]
    fn a_page_that_sets_money_aside_says_so() {
        let at_once = stage::settings("http://127.0.0.1:1");
        let on_paid = Settings { capture: Capture::OnPaid, ..at_once.clone() };
        let form = super::session(&stage::checkout(), 1_250, &on_paid);
        let manual = "&payment_intent_data%5Bcapture_method%5D=manual";
        assert_eq!(form.replace(manual, ""), super::session(&stage::checkout(), 1_250, &at_once));
        assert!(form.contains(manual), "{form}");
    }

    #[test]
    fn the_form_of_a_refund_is_frozen() {
        let form = super::refund(&stage::refund(), 500, "fleet-1");
        let expected = "payment_intent=pi_1&amount=500&metadata%5Bholdfast_fleet%5D=fleet-1\
            &metadata%5Bpayment_id%5D=00000000-0000-0000-0000-000000000001\
            &metadata%5Brefund_id%5D=00000000-0000-0000-0000-000000000003&metadata%5Bkey%5D=key-1";
        assert_eq!(form, expected);
    }

    #[test]
    fn a_page_of_refunds_begins_after_the_one_before() {
        assert_eq!(super::refunds_of("pi_1", None), "payment_intent=pi_1&limit=100");
        assert_eq!(super::refunds_of("pi&1", Some("re_9")), "payment_intent=pi%261&limit=100&starting_after=re_9");
    }

    #[test]
    fn a_page_of_events_begins_after_the_one_before() {
        let since = domain::Timestamp::from_micros(1_600_999_999);
        let asked = "types%5B%5D=a&types%5B%5D=b&delivery_success=false&created%5Bgte%5D=1600&limit=100";
        assert_eq!(super::events(&["a", "b"], Delivery::Missed, since, None), asked);
        assert_eq!(
            super::events(&["a", "b"], Delivery::Missed, since, Some("evt_9")),
            format!("{asked}&starting_after=evt_9")
        );
    }

    #[test]
    fn neither_the_key_nor_the_method_is_in_the_form() {
        let settings = stage::settings("http://127.0.0.1:1");
        let one = stage::checkout();
        let other =
            crate::CheckoutRequest { key: "other".to_owned(), payment_method: "stripe:x".to_owned(), ..one.clone() };
        assert_eq!(super::session(&one, 1_250, &settings), super::session(&other, 1_250, &settings));
    }
}
