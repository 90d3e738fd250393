//! The catalogue of codes: every word by which business says no, what its sender can do about it, and what it means.

pub use proto::common::v1::Remedy;

/// A code of a [`crate::Rejection`].
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// The word, in upper case.
    pub word: &'static str,
    /// What the sender can do.
    pub remedy: Remedy,
    /// What it means, in one line.
    pub meaning: &'static str,
}

/// Codes by what helps: each is an array of word and meaning.
macro_rules! codes {
    ($($remedy:ident { $($word:literal: $meaning:literal),* $(,)? })*) => {
        /// All codes of this program, in the order of the alphabet within each remedy. A provider's own are not among them.
        pub const CODES: &[Code] = &[$($(Code { word: $word, remedy: Remedy::$remedy, meaning: $meaning }),*),*];
    };
}

codes! {
    SameId {
        "INVALID_REPLY_TO": "answers cannot be sent where the header reply-to says",
    }
    NewId {
        "AMOUNT_NOT_DIVISIBLE": "the provider takes the currency in larger steps only",
        "AMOUNT_TOO_LARGE": "the order's total is above the largest amount, or above what the provider takes",
        "AMOUNT_TOO_SMALL": "the order's total, or what a coupon leaves of it, is below what the provider takes",
        "BROKEN_INVARIANT": "it would break what must always hold, a defect on our side; kept for the operators",
        "COMMAND_ID_REUSED": "the ce-id names another command, which was answered already",
        "COUPON_EXISTS": "the code names a coupon with another offer",
        "CURRENCY_NOT_SUPPORTED": "the provider does not take the currency",
        "EMPTY_ORDER": "an order of no line and no share",
        "INSUFFICIENT_FUNDS": "the wallet has less money, not counting what is set aside, than was asked for",
        "INVALID_AMOUNT": "an amount is missing or out of its limits",
        "INVALID_CONTACT_EMAIL": "no address that mail can be sent to",
        "INVALID_COUPON_CODE": "a coupon's code that is empty, too long or of other letters",
        "INVALID_CURRENCY": "no ISO 4217 code in upper case",
        "INVALID_DISCOUNT": "a coupon takes off neither a percentage nor an amount, or both",
        "INVALID_HEADER": "a header that cannot be read, is too long, or has two values",
        "INVALID_ID": "an id is no UUID, or nil",
        "INVALID_JSON": "the body is not the proto3 JSON of this command",
        "INVALID_KIND": "a report of no known kind",
        "INVALID_LATE_PAYMENT_POLICY": "a policy that is not known",
        "INVALID_QUANTITY": "a number of pieces, shares or uses out of its limits",
        "INVALID_RESOLUTION": "a resolution that is not known",
        "INVALID_SCRIPT": "the sandbox cannot read the payment method",
        "INVALID_SKU": "a sku that is empty, too long or of other letters",
        "INVALID_TEXT": "a text that is empty, too long or unprintable",
        "INVALID_TIME": "a time is missing, is none, or is out of its limits",
        "INVALID_TIME_TO_PAY": "a time to pay out of its limits",
        "MESSAGE_TOO_LARGE": "more bytes than a command may have",
        "MISSING_ID": "the command has no ce-id, or one that is no UUID",
        "MIXED_CURRENCY": "an order in more than one currency",
        "NOTHING_TO_PAY": "an order that costs nothing",
        "NOTHING_TO_REFUND": "a refund that comes to nothing",
        "NOT_HANDLED": "it met a defect on our side; kept for the operators",
        "NOT_PAYABLE": "nothing is to be paid: the payment is paid or over, or nobody was asked for it",
        "ORDER_EXISTS": "the order id names an order with other content",
        "ORDER_NOT_PAID": "there is no money of this order to give back",
        "ORDER_NOT_RELEASED": "what the closed order held is not given back yet",
        "PAYMENT_DISPUTED": "the buyer's bank disputes the payment, and the provider gives nothing of it back meanwhile",
        "PAYMENT_IN_DOUBT": "something of the payment must be settled before a refund of it is sent again",
        "PAYMENT_METHOD_NOT_TAKEN": "no provider that takes payments here takes this one",
        "PAYMENT_UNDER_WAY": "the buyer has done their part, and what becomes of the money is not known yet",
        "PRODUCT_EXISTS": "the sku names a product with another name",
        "REFERENCE_TAKEN": "the reference names another order",
        "REFUND_EXCEEDS_LINES": "more pieces than are left to come back",
        "REFUND_EXCEEDS_PAYMENT": "more money than is left, counting refunds under way",
        "REFUND_EXCEEDS_SHARES": "no shares are left to come back",
        "REFUND_EXISTS": "the refund id names a refund with other content",
        "RESERVED_REFUND_ID": "the refund id is kept for a refund that follows from events",
        "ROUND_EXISTS": "the round id names a round with another offer",
        "TOO_MANY_LINES": "more lines than an order or a refund may have",
        "TOTAL_TOO_LARGE": "the product would reach more pieces than can be counted",
        "TYPE_MISMATCH": "the header ce-type and the subject name different commands",
        "UNDECODABLE": "the body is not the protobuf of this command",
        "UNKNOWN_COMMAND": "the service takes no such command",
        "UNKNOWN_COUPON": "no such coupon is known, or not yet",
        "UNKNOWN_FIELD": "a field that this version does not know, which it would have to pass over",
        "UNKNOWN_ORDER": "no such order is known, or not yet",
        "UNKNOWN_PAYMENT": "no such payment is known, or not yet",
        "UNKNOWN_PRODUCT": "no such product is known, or not yet",
        "UNKNOWN_REFUND": "the payment has no such refund, or not yet",
        "UNKNOWN_REPORT": "no such report is kept of the payment, or not yet",
        "UNKNOWN_ROUND": "no such round is known, or not yet",
        "UNKNOWN_WALLET": "the customer has no wallet in this currency, or not yet",
        "UNSUPPORTED_CONTENT_TYPE": "the body is said to be neither protobuf nor JSON",
        "WALLET_LIMIT": "the wallet would have more money than a wallet may",
        "WOULD_BREAK_HOLDS": "fewer pieces would be on hand than orders hold",
        "WRONG_CURRENCY": "an amount in another currency than what it is about",
        "WRONG_STATE": "what it is about is in a state that does not allow this",
        "WRONG_VERSION": "what it is about has changed since the version that the command expects",
        "WRONG_WALLET": "an order is paid from the wallet of its own customer only",
    }
    None {
        "ABANDONED": "an operator gave the refund up",
        "CHECKOUT_TIMED_OUT": "the provider opened no page to pay on before the order's time was over",
        "COUPON_NOT_FOR_ORDER": "the coupon takes nothing off what was ordered",
        "COUPON_NOT_OPEN": "the coupon is closed, is not valid yet, or is not valid any more",
        "COUPON_SPEND_TOO_SMALL": "what the coupon is for costs less than it asks for",
        "COUPON_USED_BY_CUSTOMER": "the customer has used the coupon as often as one may",
        "COUPON_USED_UP": "the coupon was used as often as it may be",
        "DECLINED": "the provider refused the refund, or to open a page to pay on",
        "EXCEEDS_PAYMENT": "more is to be refunded than the payment has left",
        "INVALID_ATTEMPT": "an event counts attempts in a way that cannot be",
        "INVALID_END": "an event names an end of a page that is not known",
        "INVALID_MISMATCH": "an event names a mismatch that is not known",
        "INVALID_REPORT": "an event has no report",
        "MALFORMED_FRAME": "no client reads this message's headers or subject",
        "MISSING_TYPE": "an event has no ce-type",
        "NOT_PAID": "the payment has brought no money",
        "OUT_OF_SHARES": "the round has fewer shares free than were asked for",
        "OUT_OF_STOCK": "fewer pieces are free than were asked for",
        "PROVIDER_UNAVAILABLE": "the provider could not be reached, and no money has moved",
        "REFUND_FAILED": "the provider reports that the refund failed",
        "ROUND_NOT_OPEN": "the round has closed, or is sold out",
        "TOO_MANY_ATTEMPTS": "the order was tried too often",
        "TOO_MANY_REFUNDS": "the order has too many refunds already",
        "UNKNOWN_PROVIDER": "a payment's provider is none that this worker has",
        "UNKNOWN_RESOURCE": "an event names a resource that is not known",
        "UNKNOWN_STATUS": "a row has a status that is not known",
        "UNKNOWN_TIMER": "a timer of a stream that has none",
        "UNKNOWN_TYPE": "an event or a command of a type that the service does not read",
        "UNKNOWN_WORD": "a row has a word that is not known",
        "WRONG_PRICE": "the shares were offered at another price",
    }
}

/// What a sender can do about a code.
#[must_use]
pub fn remedy(word: &str) -> Remedy {
    CODES.iter().find(|code| code.word == word).map_or(Remedy::Unspecified, |code| code.remedy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{CODES, Remedy, remedy};

    #[test]
    fn every_code_is_there_once_and_says_what_helps() {
        let words: BTreeSet<&str> = CODES.iter().map(|code| code.word).collect();
        assert_eq!(words.len(), CODES.len());
        assert!(CODES.iter().all(|code| code.remedy != Remedy::Unspecified && !code.meaning.is_empty()));
        assert_eq!((remedy("UNKNOWN_ORDER"), remedy("A_PROVIDERS_OWN")), (Remedy::NewId, Remedy::Unspecified));
    }
}
