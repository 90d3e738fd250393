//! The adapter to wallets: a provider that Holdfast keeps itself, and so the one that is exact. Whoever pays from a wallet has no page to
//! pay on: opening one sets the money aside, or finds that there is too little.
//!
//! The wallets are payments' own. This is a client of theirs as any other: it sends commands over the broker and waits for the answers,
//! which tell what was committed. The id of a command follows from the payment and from what is done, so a call whose answer was lost is
//! answered as it was then.

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::Client;
use domain::{Money, PaymentId, RefundId, derived};
use platform::{
    client::{CommandClient, Outgoing, Sent},
    database::Pool,
};
use proto::{
    Message, Name,
    common::v1::{Accepted, CommandReply, Rejection, command_reply::Outcome},
    payments::v1::{CommitFunds, CreditWallet, FundsRejected, HoldFunds, ReleaseFunds},
};
use tokio::sync::OnceCell;

use crate::{
    AuthorisationRef, Charge, Checkout, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenCheckout,
    OpenedCheckout, Provider, ProviderError, ProviderName, RefundRequest, RefundState,
};

/// Its name in events.
pub const NAME: &str = "wallet";

/// Answers to commands that say that it is already as it should not be: the money is taken, or it is let go.
const ENDED_OTHERWISE: &str = "WRONG_STATE";

/// Answers that refuse a refund for good.
const REFUND_REFUSED: [&str; 4] = ["NOT_PAID", "WRONG_CURRENCY", "REFUND_EXISTS", "REFUND_EXCEEDS_PAYMENT"];

/// How an order is paid from the wallet of its customer. Whose wallet it is has to be said, for payments knows no customers.
#[must_use]
pub fn payment_method(customer_id: &str) -> String {
    format!("{NAME}:{customer_id}")
}

/// Whose wallet is to pay. `None`: it is not said, or something else pays.
#[must_use]
pub fn customer_of(payment_method: &str) -> Option<&str> {
    let (name, customer_id) = payment_method.split_once(':')?;
    (name == NAME && !customer_id.is_empty()).then_some(customer_id)
}

/// Where it has a payment paid: it must be called for that.
pub(crate) fn page() -> Checkout {
    Checkout { provider: NAME.to_owned(), reference: String::new(), url: String::new() }
}

/// What it knows the money by that is set aside for a payment, and the charge that this becomes. There is one of each.
fn reference(payment_id: PaymentId) -> String {
    format!("funds-{payment_id}")
}

fn charge(payment_id: PaymentId, amount: Money, happened: &str) -> Charge {
    let reference = reference(payment_id);
    Charge {
        event_id: format!("{reference} {happened}"),
        reference,
        minor_units: amount.minor_units,
        currency: amount.currency.to_string(),
        occurred_at: None,
    }
}

/// The way to the wallets: what is asked of them and what they answer. A trait, so that a test can put itself between.
pub trait Wallets: Send + Sync + 'static {
    /// Has a command done, and waits for what its worker says. The same command again is answered as it was.
    ///
    /// # Errors
    /// It was not answered in time; whether it is done is not known, unless the error says so.
    fn ask(&self, command: &Outgoing<'_>) -> impl Future<Output = Result<CommandReply, ProviderError>> + Send;

    /// Whether money of this payment has gone back by this refund.
    ///
    /// # Errors
    /// It could not be asked.
    fn is_credited(
        &self,
        payment_id: PaymentId,
        refund_id: RefundId,
    ) -> impl Future<Output = Result<bool, ProviderError>> + Send;
}

/// The wallets of this fleet, by way of its broker.
#[derive(Debug, Clone)]
pub struct OverBroker {
    broker: Client,
    /// Made at the first call: making ready is not the place to wait for the broker.
    client: Arc<OnceCell<CommandClient>>,
    pool: Pool,
    answered_within: Duration,
}

impl OverBroker {
    /// By way of this broker. A call takes no longer than `answered_within`. What became of a refund is read in this database.
    #[must_use]
    pub fn new(broker: Client, pool: Pool, answered_within: Duration) -> Self {
        Self { broker, client: Arc::default(), pool, answered_within }
    }
}

impl Wallets for OverBroker {
    async fn ask(&self, command: &Outgoing<'_>) -> Result<CommandReply, ProviderError> {
        let client = || CommandClient::over(self.broker.clone(), "/holdfast/wallet", self.answered_within);
        let client = self.client.get_or_try_init(client).await;
        let client = client.map_err(|error| ProviderError::Unavailable(format!("no way to its worker: {error}")))?;
        match client.send_within(command, self.answered_within).await {
            Sent::Answered(answer) => Ok(answer.reply),
            // It may be done all the same, also if the broker did not say that it has it.
            Sent::Unanswered | Sent::Undelivered => {
                Err(ProviderError::OutcomeUnknown("its worker has not answered".to_owned()))
            }
        }
    }

    async fn is_credited(&self, payment_id: PaymentId, refund_id: RefundId) -> Result<bool, ProviderError> {
        let query = "select credits ? $2 from payments.funds where payment_id = $1";
        let query = sqlx::query_scalar(query).bind(payment_id.0).bind(refund_id.to_string());
        let found: Result<Option<bool>, sqlx::Error> = query.fetch_optional(&self.pool).await;
        let unread = |error| ProviderError::Unavailable(format!("its rows cannot be read: {error}"));
        Ok(found.map_err(unread)?.unwrap_or_default())
    }
}

/// The provider of wallets.
#[derive(Debug, Clone)]
pub struct Wallet<W = OverBroker>(W);

impl<W: Wallets> Wallet<W> {
    /// The provider of these wallets.
    pub const fn new(wallets: W) -> Self {
        Self(wallets)
    }

    /// Has a command done. Of one payment, the same name and command again are answered as they were.
    async fn ask<M: Message + Name>(
        &self,
        payment_id: PaymentId,
        name: &str,
        command: &M,
    ) -> Result<Result<Accepted, Rejection>, ProviderError> {
        let command = Outgoing {
            id: derived(payment_id.0, &format!("wallet.{name}")),
            message_type: &M::full_name(),
            data: command.encode_to_vec().into(),
            correlation_id: None,
            traceparent: None,
        };
        match self.0.ask(&command).await?.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(Ok(accepted)),
            Some(Outcome::Rejected(rejection)) => Ok(Err(rejection)),
            None => Err(ProviderError::OutcomeUnknown("its worker answered nothing".to_owned())),
        }
    }

    /// Lets go what is set aside, or sees to it that nothing ever will be. In words why not, if it is taken.
    async fn release(&self, payment_id: PaymentId, name: &str) -> Result<Result<(), String>, ProviderError> {
        let command = ReleaseFunds { payment_id: payment_id.to_string() };
        match self.ask(payment_id, name, &command).await? {
            Ok(_accepted) => Ok(Ok(())),
            Err(Rejection { code, reason, .. }) if code == ENDED_OTHERWISE => Ok(Err(reason)),
            Err(rejection) => Err(misunderstood(&rejection)),
        }
    }
}

/// A refusal that has nothing to do with the money: a worker of another release, or a defect.
fn misunderstood(rejection: &Rejection) -> ProviderError {
    ProviderError::Misconfigured(said(rejection))
}

fn said(rejection: &Rejection) -> String {
    format!("{}: {}", rejection.code, rejection.reason)
}

impl<W: Wallets> Provider for Wallet<W> {
    fn name(&self) -> ProviderName {
        ProviderName::Wallet
    }

    /// Of each payment once, whatever the key: what was answered once stays so.
    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        let Some(customer_id) = customer_of(&request.payment_method) else {
            return Err(ProviderError::Declined(format!("{:?} does not say whose wallet", request.payment_method)));
        };
        let command = HoldFunds {
            payment_id: request.payment_id.to_string(),
            customer_id: customer_id.to_owned(),
            amount: Some(request.amount.to_wire()),
        };
        match self.ask(request.payment_id, "hold", &command).await? {
            Ok(accepted) if accepted.events.contains(&FundsRejected::full_name()) => {
                let amount = request.amount;
                Err(ProviderError::Declined(format!(
                    "INSUFFICIENT_FUNDS: the wallet of {customer_id:?} has less than {amount} to spend: top it up"
                )))
            }
            Ok(_held) => Ok(OpenedCheckout {
                page: OpenCheckout { reference: reference(request.payment_id), url: String::new() },
                authorised: Some(charge(request.payment_id, request.amount, "held")),
            }),
            // This command stays refused, so nothing is set aside by it.
            Err(rejection) => Err(ProviderError::Declined(said(&rejection))),
        }
    }

    fn opens_with_money(&self) -> bool {
        true
    }

    /// Lets go what was set aside when it was opened, also if nobody has heard of that.
    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        match self.release(checkout.payment_id, "close").await? {
            Ok(()) => Ok(ClosedCheckout::Unpaid),
            // Only what was heard of is taken, so there is nobody who could be told.
            Err(_taken) => Ok(ClosedCheckout::UnderWay),
        }
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        let AuthorisationRef { payment_id, amount, key, .. } = authorisation;
        let command = CommitFunds { payment_id: payment_id.to_string() };
        match self.ask(*payment_id, key, &command).await? {
            Ok(_accepted) => Ok(EndedAuthorisation::Captured(charge(*payment_id, *amount, "committed"))),
            Err(Rejection { code, reason, .. }) if code == ENDED_OTHERWISE => Ok(EndedAuthorisation::Voided { reason }),
            Err(rejection) => Err(misunderstood(&rejection)),
        }
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        let AuthorisationRef { payment_id, amount, key, .. } = authorisation;
        Ok(match self.release(*payment_id, key).await? {
            Ok(()) => EndedAuthorisation::Voided { reason: "it is in the wallet again".to_owned() },
            Err(_taken) => EndedAuthorisation::Captured(charge(*payment_id, *amount, "committed")),
        })
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        let command = CreditWallet {
            payment_id: request.payment_id.to_string(),
            refund_id: request.refund_id.to_string(),
            amount: Some(request.amount.to_wire()),
        };
        // With the amount, for another amount is another command, whose refusal says why.
        let name = format!("{}.{}", request.key, request.amount.minor_units);
        match self.ask(request.payment_id, &name, &command).await? {
            Ok(_accepted) => Ok(credited(request)),
            Err(rejection) if REFUND_REFUSED.contains(&rejection.code.as_str()) => {
                Err(ProviderError::Declined(said(&rejection)))
            }
            Err(rejection) => Err(misunderstood(&rejection)),
        }
    }

    /// By the refund and not by the key: of a refund, money goes back once, under whatever keys it is asked for.
    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        let is_credited = self.0.is_credited(request.payment_id, request.refund_id).await?;
        Ok(is_credited.then(|| credited(request)))
    }
}

fn credited(request: &RefundRequest) -> RefundState {
    RefundState::Refunded { reference: format!("credit-{}", request.refund_id) }
}

#[cfg(test)]
mod tests {
    use super::{customer_of, payment_method};

    #[test]
    fn whose_wallet_pays_is_all_that_comes_after_the_first_colon() {
        for customer_id in ["ada", "a:b", "wallet:ada", " ", "42"] {
            assert_eq!(customer_of(&payment_method(customer_id)), Some(customer_id));
        }
        for other in ["", "wallet", "wallet:", "Wallet:ada", "stripe:ada", "sandbox:succeed"] {
            assert_eq!(customer_of(other), None, "{other}");
        }
    }
}
