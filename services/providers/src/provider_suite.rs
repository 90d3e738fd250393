//! What every provider must do, as one suite: payments' promise that a refund is paid out once rests on it.

use crate::{Provider, ProviderError, RefundRequest, RefundState};

/// Requests, each under a key that was never used, to a provider that is made ready for them.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The provider pays it out at once.
    pub plain: RefundRequest,
    /// The provider pays it out, but its answer to the first call is lost.
    pub lost_answer: RefundRequest,
    /// The provider declines it.
    pub declined: RefundRequest,
    /// Nothing is ever sent under this key.
    pub never_sent: RefundRequest,
}

/// Runs the suite.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn check<P: Provider>(provider: &P, scenario: &Scenario) -> Result<(), String> {
    the_same_key_refunds_once(provider, &scenario.plain).await?;
    another_amount_under_a_used_key_is_declined(provider, &scenario.plain).await?;
    a_lost_answer_can_be_looked_up(provider, &scenario.lost_answer).await?;
    a_decline_is_definite(provider, &scenario.declined).await?;
    an_unknown_key_finds_nothing(provider, &scenario.never_sent).await
}

async fn the_same_key_refunds_once<P: Provider>(provider: &P, request: &RefundRequest) -> Result<(), String> {
    let first = provider.refund(request).await;
    let Ok(RefundState::Refunded { reference }) = &first else {
        return Err(format!("a refund is paid out: {first:?}"));
    };
    if reference.is_empty() {
        return Err("a refund that is paid out has a reference".to_owned());
    }
    let again = provider.refund(request).await;
    expect(again == first, || format!("the same key again answers as before: {first:?}, then {again:?}"))?;
    let found = provider.find_refund(request).await;
    expect(found == first.clone().map(Some), || format!("what was paid out is found: {first:?}, but found {found:?}"))
}

async fn another_amount_under_a_used_key_is_declined<P: Provider>(
    provider: &P,
    used: &RefundRequest,
) -> Result<(), String> {
    let mut other = used.clone();
    other.amount.minor_units += 1;
    let answer = provider.refund(&other).await;
    expect(matches!(answer, Err(ProviderError::Declined(_))), || {
        format!("another amount under a used key is declined: {answer:?}")
    })
}

async fn a_lost_answer_can_be_looked_up<P: Provider>(provider: &P, request: &RefundRequest) -> Result<(), String> {
    let answer = provider.refund(request).await;
    expect(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), || {
        format!("a lost answer is an unknown outcome, never a failure: {answer:?}")
    })?;
    let found = provider.find_refund(request).await;
    expect(matches!(found, Ok(Some(RefundState::Refunded { .. }))), || {
        format!("a refund whose answer was lost is found: {found:?}")
    })
}

async fn a_decline_is_definite<P: Provider>(provider: &P, request: &RefundRequest) -> Result<(), String> {
    for _ in 0..2 {
        let answer = provider.refund(request).await;
        expect(matches!(answer, Err(ProviderError::Declined(_))), || {
            format!("what is declined once is declined again: {answer:?}")
        })?;
    }
    let found = provider.find_refund(request).await;
    expect(!matches!(found, Ok(Some(RefundState::Refunded { .. } | RefundState::Pending { .. }))), || {
        format!("what was declined is not under way: {found:?}")
    })
}

async fn an_unknown_key_finds_nothing<P: Provider>(provider: &P, request: &RefundRequest) -> Result<(), String> {
    let found = provider.find_refund(request).await;
    expect(found == Ok(None), || format!("a key that was never sent finds nothing: {found:?}"))
}

fn expect(kept: bool, promise: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(promise()) }
}
