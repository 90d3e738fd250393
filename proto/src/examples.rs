//! One good command of every type: what documents show, and what tests and fuzzers begin with.

/// A command of every type that somebody may send, as proto3 JSON.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "holdfast.orders.v1.PlaceOrder",
        r#"{"orderId":"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81","customerId":"customer-7","lines":[{"sku":"MUG-01","quantity":"2",
"unitPrice":{"minorUnits":"999","currency":"EUR"}},{"sku":"CUP","quantity":1,"unitPrice":{"currency":"EUR"}}],"shares":{"roundId":
"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","count":"4","unitPrice":{"minorUnits":"500","currency":"EUR"}},"timeToPay":"60.5s",
"latePaymentPolicy":"LATE_PAYMENT_POLICY_REHOLD","paymentMethod":"sandbox:late,after=2s","couponCode":"SPRING-10","reference":"R-1",
"contactEmail":"ann@shop.example","actor":"shop"}"#,
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
    ("holdfast.inventory.v1.RegisterProduct", r#"{"sku":"MUG-01","name":"Mug, \"blue\"","actor":"ann"}"#),
    (
        "holdfast.inventory.v1.ReceiveStock",
        r#"{"sku":"MUG-01","quantity":"1000000000","reference":"delivery 12","actor":"ann"}"#,
    ),
    ("holdfast.inventory.v1.AdjustStock", r#"{"sku":"MUG-01","delta":"-3","actor":"ann","reason":"count"}"#),
    (
        "holdfast.rounds.v1.OpenRound",
        r#"{"roundId":"0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05","prize":"A bicycle","totalShares":"100","sharePrice":{"minorUnits":"500",
"currency":"EUR"},"closesAt":"2026-02-02T03:34:05.678901+01:00","actor":"ann"}"#,
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
    (
        "holdfast.payments.v1.RequestCheckout",
        r#"{"paymentId":"c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f","anew":true,"actor":"shop"}"#,
    ),
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
"usesPerCustomerMax":"1","skus":["MUG-01","CUP"]},"actor":"ann"}"#,
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
