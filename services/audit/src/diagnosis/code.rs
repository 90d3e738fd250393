//! The catalogue of findings: each code with the promise that is at stake, what has to be looked at for it, and its page.

use serde::{Serialize, Serializer};

/// The promise that is at stake, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Money that went wrong, or of which nobody knows where it is.
    Money,
    /// Stock or shares that are kept from others.
    Stock,
    /// What is promised comes late.
    Delay,
    /// No promise yet.
    Nothing,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Stock => "stock",
            Self::Delay => "delay",
            Self::Nothing => "nothing",
        }
    }
}

/// What is looked at by itself. Where that fails, the findings that depend on it are unknown, and the others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Whether database and broker belong together.
    Lineage,
    /// What waits for a person.
    Waiting,
    /// Outside calls that wait until somebody mends how they are made.
    Stopped,
    /// Holds of orders that are closed.
    Holds,
    /// Timers and outside calls.
    Due,
    /// The log and the relay.
    Log,
    /// Open transactions of Postgres.
    Transactions,
    /// Dead letters.
    Letters,
    /// What workers say.
    Notices,
    /// Streams and consumers.
    Broker,
}

/// What is known of a code without looking at a fleet.
#[derive(Debug)]
pub struct Page {
    /// Its word, in upper case.
    pub word: &'static str,
    /// The promise that is at stake.
    pub severity: Severity,
    pub(super) part: Part,
    /// What it means.
    pub means: &'static str,
    /// What happens if nobody does anything.
    pub stake: &'static str,
    /// What to do.
    pub act: &'static str,
    /// When the finding is gone.
    pub clears: &'static str,
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.page().word)
    }
}

impl Code {
    /// The code of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.page().word == word)
    }
}

macro_rules! codes {
    ($($name:ident $word:literal $severity:ident $part:ident { means: $means:literal, stake: $stake:literal, act: $act:literal, clears: $clears:literal })*) => {
        /// What a finding is called: a word of the interface, which stays. In order of what is at stake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $means] $name),*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its page.
            #[must_use]
            pub const fn page(self) -> &'static Page {
                match self {
                    $(Self::$name => &Page {
                        word: $word,
                        severity: Severity::$severity,
                        part: Part::$part,
                        means: $means,
                        stake: $stake,
                        act: $act,
                        clears: $clears,
                    }),*
                }
            }
        }
    };
}

codes! {
    DatabaseBehindBroker "DATABASE_BEHIND_BROKER" Money Lineage {
        means: "the broker has events that the log lacks: the database was restored, or promoted before it had all",
        stake: "nothing is consumed, written or called; money moved in the time that is lost is known to the provider and the broker only",
        act: "bring the right database back, or `holdfast recover --dry-run`; purge no stream before that",
        clears: "the log has all that is published, or has given it up"
    }
    WrongBroker "WRONG_BROKER" Money Lineage {
        means: "the broker's streams are of another installation: two databases would each take half of what is the other's",
        stake: "the workers of this database do nothing",
        act: "give this database a broker of its own (setting broker.url)",
        clears: "the streams at the broker are this installation's"
    }
    RefundUnknown "REFUND_UNKNOWN" Money Waiting {
        means: "nobody knows whether a refund was paid",
        stake: "a buyer waits for the money, or has it already; no other refund of that payment is sent",
        act: "ask the provider, then `holdfast resolve refund`",
        clears: "the provider or ResolveRefund says how the refund ended"
    }
    RefundUndecided "REFUND_UNDECIDED" Money Waiting {
        means: "a refund waits for something of its payment to be settled first, or was reversed after it had been paid",
        stake: "a buyer waits for the money",
        act: "settle the payment's report or dispute, or `holdfast resolve refund`",
        clears: "the refund is sent, paid, or given up"
    }
    MoneyUnmatched "MONEY_UNMATCHED" Money Waiting {
        means: "the provider reports money that fits nothing that was asked for",
        stake: "a buyer may have paid for nothing; no other refund of that payment is sent",
        act: "ask the provider, then `holdfast resolve report`",
        clears: "the report is accepted, undone, or settled by a later one"
    }
    MoneyOwed "MONEY_OWED" Money Waiting {
        means: "money of an order was to go back, and did not",
        stake: "a buyer waits for the money, and nothing is under way",
        act: "`holdfast order ID` says why the refund failed; then `holdfast send RequestRefund`, or CancelOrder again",
        clears: "as much has gone back as is owed"
    }
    MoneyCallStuck "MONEY_CALL_STUCK" Money Waiting {
        means: "a call that takes money or lets it go, or closes a page, does not come to its end",
        stake: "an order and its stock wait for money; a page that is to be closed can be paid on",
        act: "see what the provider says of the payment; the call goes on by itself once one of the two is done there",
        clears: "the call has come to its end"
    }
    DisputeOpen "DISPUTE_OPEN" Money Waiting {
        means: "a buyer's bank disputes a payment, and the dispute is not over",
        stake: "the provider decides for the buyer when the time to answer is over, and keeps the money",
        act: "answer it at the provider before it is due; nothing has to be told to Holdfast",
        clears: "the provider reports how the dispute ended"
    }
    ProviderMisconfigured "PROVIDER_MISCONFIGURED" Money Stopped {
        means: "a provider refuses how it is asked: a key, a right of it, or a call that it does not understand",
        stake: "no page is opened and no refund is sent; pages that are to be closed can be paid on",
        act: "see the provider's dashboard, give all workers of payments another key and restart them",
        clears: "the provider takes a call again; calls go on by themselves"
    }
    HoldOrphaned "HOLD_ORPHANED" Stock Holds {
        means: "an order is closed, and still holds something or has no receipt for it, among the last 10,000 orders",
        stake: "pieces or shares are kept from others",
        act: "`holdfast verify` looks at all orders and names the event where it shows; keep database and logs as they are",
        clears: "nothing is held for the order, and it has its receipt"
    }
    OrdersOverdue "ORDERS_OVERDUE" Stock Due {
        means: "orders should have expired by now: no worker of orders does what is due",
        stake: "unpaid orders keep what they hold",
        act: "see `/readyz` of the workers of orders; `holdfast expire --dry-run --reason TEXT` names them",
        clears: "no timer of orders is overdue"
    }
    DrawStuck "DRAW_STUCK" Delay Waiting {
        means: "a round is sold out, and its winner is not drawn: the beacon does not answer, or the secret that the round was opened with is gone",
        stake: "its buyers wait for a winner",
        act: "see last_error of the call: reach the beacon, or put the secret back as one more line of the file (setting rounds.draw_secrets)",
        clears: "the winner is drawn, or the round is called off"
    }
    WorkOverdue "WORK_OVERDUE" Delay Due {
        means: "timers or outside calls of a service are overdue: none of its workers is ready, the provider does not answer, or effects.calls is off",
        stake: "rounds close late, refunds and pages are late",
        act: "see `/readyz` of the service's workers, and last_error of its calls",
        clears: "nothing of the service is overdue"
    }
    PartitionsRunOut "PARTITIONS_RUN_OUT" Delay Log {
        means: "the log has fewer than two empty partitions: no worker is the relay, which makes them, or it may not",
        stake: "what finds no partition is not taken in, by any service",
        act: "`select log.make_partitions()` as the role that migrates, and see why the relay does not",
        clears: "there are two empty partitions or more"
    }
    HorizonHeld "HORIZON_HELD" Delay Transactions {
        means: "a transaction that has written stays open; the relay and every replay wait for it at the next gap in the log",
        stake: "other services do not hear of what comes after the gap, and vacuum removes nothing newer",
        act: "end the session by `holdfast unblock SESSION`, or roll the prepared transaction back; nothing that Holdfast has committed is lost by that",
        clears: "the transaction has ended"
    }
    RelayLags "RELAY_LAGS" Delay Log {
        means: "events are written and not published, and no open transaction is the reason",
        stake: "other services do not hear of them",
        act: "see `/readyz` of the workers: no relay gets through to the broker",
        clears: "the relay has published them"
    }
    StreamMissing "STREAM_MISSING" Delay Broker {
        means: "a JetStream stream that the fleet needs is not there, and no worker could make it",
        stake: "nothing goes on that needs it",
        act: "see `/readyz` of the workers: the broker has no room, or refuses",
        clears: "the stream is there"
    }
    ConsumerMissing "CONSUMER_MISSING" Delay Broker {
        means: "a durable consumer is not there: it was deleted while no worker of its service runs, which would make it again",
        stake: "the service hears of nothing; what it is owed stays in stream and log",
        act: "start a worker of the service",
        clears: "the consumer is there"
    }
    ConsumerPaused "CONSUMER_PAUSED" Delay Broker {
        means: "a consumer is paused: by `holdfast pause`, or by somebody while no worker of its service runs, which would resume it within seconds",
        stake: "the service hears of nothing",
        act: "`holdfast resume`, or start a worker of the service",
        clears: "the consumer is resumed"
    }
    ConsumerEdited "CONSUMER_EDITED" Delay Broker {
        means: "somebody has changed a consumer so that it passes over messages, and no worker of its service runs, which would make it anew",
        stake: "the service does not hear of what is passed over until then",
        act: "start a worker of the service: it makes the consumer anew, and what was passed over is handled",
        clears: "the consumer is handed all that its service asked for"
    }
    ConsumerLags "CONSUMER_LAGS" Delay Broker {
        means: "a service has not handled what it was owed for a while: its workers are down, slow, or wait for something",
        stake: "what follows from those messages comes late",
        act: "see `/readyz` and the logs of the service's workers; start more of them if all are busy",
        clears: "the oldest message that waits is younger than the limit"
    }
    BrokerRefuses "BROKER_REFUSES" Delay Notices {
        means: "the broker is connected, and takes no events in",
        stake: "other services do not hear of what is written",
        act: "make room on its disk or raise what is full, and restart nats-server if its disk was full",
        clears: "the broker takes events in"
    }
    DeadLetters "DEAD_LETTERS" Delay Letters {
        means: "messages could not be handled, and are kept whole, with the reason",
        stake: "whoever sent one was told that operators have it; what was owed comes again by itself",
        act: "read the reason and mend it; then `holdfast redrive`, or `holdfast set-aside`",
        clears: "each letter of the service with that code is settled: sent again, or set aside"
    }
    WebhooksSilent "WEBHOOKS_SILENT" Delay Notices {
        means: "a provider brings no reports: all that were due had to be asked for",
        stake: "an order is paid a minute after its buyer has paid, or as late as stripe.missed_ms says, and refunds and disputes are heard of as late",
        act: "see where the provider sends them and what it says failed there (its dashboard), and the metric holdfast_gateway_webhooks_total",
        clears: "the provider brings a report"
    }
    CopiesBehind "COPIES_BEHIND" Delay Notices {
        means: "the copies of events in JSON are behind: their stream is full, missing, or refuses them",
        stake: "whoever reads JSON waits; the fleet does not",
        act: "what the reason says",
        clears: "all copies are published"
    }
    SettingsDiffer "SETTINGS_DIFFER" Nothing Notices {
        means: "a worker's settings are not those of the streams that are there, or a stream cannot be changed to them",
        stake: "the streams stay as they are",
        act: "give all workers the same settings and restart them",
        clears: "no worker says so any more"
    }
    ClockSkew "CLOCK_SKEW" Nothing Notices {
        means: "the clock of a worker's machine is wrong",
        stake: "orders live by the clock of Postgres all the same; logs are hard to read",
        act: "set that machine's clock, and run a time service there",
        clears: "the clock is right, or the worker is gone, for half a minute"
    }
    WorkerSays "WORKER_SAYS" Nothing Notices {
        means: "a worker of another release says something for which this program has no code",
        stake: "what it says",
        act: "use the `holdfast` of the newest worker",
        clears: "no worker says so any more"
    }
}

#[cfg(test)]
mod tests {
    use runtime::notices::Topic;

    use super::{Code, Severity};

    #[test]
    fn codes_are_told_in_the_order_of_what_is_at_stake() {
        let severities: Vec<Severity> = Code::ALL.iter().map(|code| code.page().severity).collect();
        assert!(severities.is_sorted(), "{severities:?}");
    }

    #[test]
    fn whatever_a_worker_says_has_its_code() {
        for topic in Topic::ALL {
            let code = Code::parse(topic.code()).unwrap();
            assert_eq!(code.page().severity.word(), topic.severity(), "{code:?}");
            assert_eq!(Topic::parse(topic.name()), Some(topic));
        }
        assert_eq!(Topic::parse("of a later release"), None);
    }

    #[test]
    fn a_code_has_one_word_and_a_word_one_code() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.page().word), Some(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.page().word);
        }
        assert_eq!(Code::parse("NO_SUCH_CODE"), None);
    }
}
