//! Messages that are good: a command of every type, and every event that was ever released.

use std::{fs, sync::LazyLock};

use holdfast_tests::repo_root;
use serde_json::Value;

/// A command of every type, as proto3 JSON.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    (
        "holdfast.orders.v1.PlaceOrder",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","customerId":"customer-7","lines":[{"sku":"MUG-01","quantity":"2",
"unitPrice":{"minorUnits":"999","currency":"EUR"}},{"sku":"CUP","quantity":1,"unitPrice":{"currency":"EUR"}}],"shares":{"roundId":
"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","count":"4","unitPrice":{"minorUnits":"500","currency":"EUR"}},"timeToPay":"60.5s",
"latePaymentPolicy":"LATE_PAYMENT_POLICY_REHOLD","paymentMethod":"sandbox:late,after=2s","couponCode":"SPRING-10","reference":"R-1",
"contactEmail":"ann@shop.example"}"#,
    ),
    (
        "holdfast.orders.v1.CancelOrder",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","actor":"buyer","note":"changed my mind","expectedVersion":"7"}"#,
    ),
    (
        "holdfast.orders.v1.RequestRefund",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","refundId":"e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615","lines":[{"sku":
"MUG-01","quantity":"1"}],"returnShares":true,"amount":{"minorUnits":"999","currency":"EUR"},"actor":"ops","note":"broken"}"#,
    ),
    (
        "holdfast.orders.v1.ExpireOrder",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","actor":"ops","note":"the sale is over"}"#,
    ),
    (
        "holdfast.orders.v1.ReinstateOrder",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","actor":"ops","note":"called us","timeToPay":"604800s"}"#,
    ),
    ("holdfast.inventory.v1.RegisterProduct", r#"{"sku":"MUG-01","name":"Mug, \"blue\""}"#),
    ("holdfast.inventory.v1.ReceiveStock", r#"{"sku":"MUG-01","quantity":"1000000000","reference":"delivery 12"}"#),
    ("holdfast.inventory.v1.AdjustStock", r#"{"sku":"MUG-01","delta":"-3","actor":"ann","reason":"count"}"#),
    (
        "holdfast.rounds.v1.OpenRound",
        r#"{"roundId":"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","prize":"A bicycle","totalShares":"100","sharePrice":{"minorUnits":"500",
"currency":"EUR"},"closesAt":"2026-02-02T03:34:05.678901+01:00"}"#,
    ),
    (
        "holdfast.rounds.v1.CloseRound",
        r#"{"roundId":"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","actor":"ops","note":"that is all"}"#,
    ),
    (
        "holdfast.rounds.v1.CancelRound",
        r#"{"roundId":"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","actor":"ops","note":"no bicycle"}"#,
    ),
    (
        "holdfast.payments.v1.RecordProviderEvent",
        r#"{"kind":"PROVIDER_EVENT_KIND_REFUND_FAILED","paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","refundId":
"e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615","amount":{"minorUnits":"1999","currency":"EUR"},"providerEventId":"evt-1",
"providerReference":"sb-1","reason":"account closed","occurredAt":"2026-01-02T03:04:05Z"}"#,
    ),
    ("holdfast.payments.v1.RequestCheckout", r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","anew":true}"#),
    (
        "holdfast.payments.v1.ResolveProviderReport",
        r#"{"paymentId": "c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f", "providerEventId": "evt-1", "resolution": "REPORT_RESOLUTION_UNDONE", "actor": "ops@shop", "note": "given back by hand"}"#,
    ),
    (
        "holdfast.payments.v1.ResolveRefund",
        r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","refundId":"e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615","resolution":
"REFUND_RESOLUTION_RETRY","actor":"ops","note":"not in their books"}"#,
    ),
    (
        "holdfast.payments.v1.OpenCoupon",
        r#"{"couponCode":"SPRING-10","offer":{"basisPoints":1000,"currency":"EUR","discountMax":{"minorUnits":"5000","currency":"EUR"},
"spendMin":{"minorUnits":"1000","currency":"EUR"},"validFrom":"2026-01-02T03:04:05Z","validUntil":"2026-02-02T03:04:05Z","usesMax":"50",
"usesPerCustomerMax":"1","skus":["MUG-01","CUP"]}}"#,
    ),
    ("holdfast.payments.v1.CloseCoupon", r#"{"couponCode":"SPRING-10","actor":"ops","note":"that is all"}"#),
    (
        "holdfast.payments.v1.TopUpWallet",
        r#"{"customerId":"customer-7","amount":{"minorUnits":"5000","currency":"EUR"},"actor":"till","note":"cash"}"#,
    ),
    (
        "holdfast.payments.v1.WithdrawFromWallet",
        r#"{"customerId":"customer-7","amount":{"minorUnits":"500","currency":"EUR"},"actor":"till","note":"asked for it"}"#,
    ),
    (
        "holdfast.payments.v1.HoldFunds",
        r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","customerId":"customer-7","amount":{"minorUnits":"1999","currency":"EUR"}}"#,
    ),
    ("holdfast.payments.v1.CommitFunds", r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f"}"#),
    ("holdfast.payments.v1.ReleaseFunds", r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f"}"#),
    (
        "holdfast.payments.v1.CreditWallet",
        r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","refundId":"e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615","amount":
{"minorUnits":"999","currency":"EUR"}}"#,
    ),
];

/// Every event that was ever released, from the golden files: its type and its bytes.
pub(super) fn events() -> Vec<(String, Vec<u8>)> {
    let folder = fs::read_dir(repo_root().join("tests/golden/v1")).unwrap();
    let mut events: Vec<(String, Vec<u8>)> = folder
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let message_type = name.split('+').next().unwrap().to_owned();
            let golden: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let bytes = proto::from_json(&message_type, golden["json"].to_string().as_bytes()).unwrap();
            (message_type, bytes)
        })
        .collect();
    events.sort();
    events
}

/// The samples of commands, as bytes.
pub(super) fn commands() -> impl Iterator<Item = (String, Vec<u8>)> {
    COMMANDS.iter().map(|(name, json)| ((*name).to_owned(), proto::from_json(name, json.as_bytes()).unwrap()))
}

/// Commands and events of payments and refunds, in each of which one value is as nobody should send it.
#[cfg(test)]
pub(super) fn hostile() -> impl Iterator<Item = (String, Vec<u8>)> {
    let all = commands().chain(events());
    let of_money = all.filter(|(name, _)| name.contains(".payments.") || name.contains("Refund"));
    of_money
        .flat_map(|(name, bytes)| crate::fields::hostile(&bytes).into_iter().map(move |bytes| (name.clone(), bytes)))
}

/// Every type of the contract, and some that are none.
pub(super) fn types() -> &'static [String] {
    static TYPES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let none =
            ["", "PlaceOrder", "holdfast.orders.v1.", "holdfast.orders.v2.PlaceOrder", "google.protobuf.Timestamp"];
        proto::message_types().into_iter().chain(none.map(str::to_owned)).collect()
    });
    &TYPES
}

/// Words that mean something in a message.
pub(super) const TOKENS: &[&str] = &[
    "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81",
    "{6F1D0C2E-8A51-4B7E-9D3A-2F4C5B6A7D81}",
    "urn:uuid:6f1d0c2e8a514b7e9d3a2f4c5b6a7d81",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "EUR",
    "USD",
    "eur",
    "XXX",
    "€",
    "MUG-01",
    "CUP",
    "sandbox:succeed",
    "\0",
    "\u{1b}[2J\r\n",
    "\u{feff}",
    "\u{202e}",
    "\u{1f980}",
    "e\u{301}",
];

#[cfg(test)]
mod tests {
    use super::{COMMANDS, events};

    #[test]
    fn there_is_a_sample_of_every_command() {
        use domain::Decider;
        let all = [
            orders::Orders::COMMANDS,
            inventory::Inventory::COMMANDS,
            rounds::Rounds::COMMANDS,
            <payments::Payments>::COMMANDS,
        ];
        let samples: Vec<&str> = COMMANDS.iter().map(|(message_type, _)| *message_type).collect();
        for message_type in all.concat() {
            assert!(samples.contains(&message_type), "{message_type}");
        }
        for (message_type, json) in COMMANDS {
            proto::from_json(message_type, json.as_bytes()).unwrap();
        }
        assert!(events().len() > 40);
    }
}
