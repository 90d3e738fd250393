//! What every provider must do, as one suite: payments' promises that a refund is paid out once, that nobody pays on a page that is
//! closed, and that money which is set aside is taken or let go, rest on it.

use crate::{
    AuthorisationRef, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, Provider, ProviderError,
    RefundRequest, RefundState, idempotency_key,
};

/// Requests, each under its first [`idempotency_key`], which was never used, to a provider that is made ready for them.
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
    /// The provider opens this page, and nobody pays on it.
    pub page: CheckoutRequest,
    /// Money that it has set aside. `None`: it can set none aside, or has no memory of what became of it.
    pub holds: Option<Holds>,
}

/// Money that a provider has set aside for two payments.
#[derive(Debug, Clone)]
pub struct Holds {
    /// This is taken.
    pub taken: AuthorisationRef,
    /// This is let go.
    pub let_go: AuthorisationRef,
}

/// Runs the suite. `lose` says when the answers of a provider get lost on the way, if that is not in the request itself.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn check<P: Provider>(provider: &P, scenario: &Scenario, lose: impl Fn(bool)) -> Result<(), String> {
    a_page_is_opened_once_and_closed_for_good(provider, &scenario.page).await?;
    the_same_key_refunds_once(provider, &scenario.plain).await?;
    another_amount_under_a_used_key_is_not_paid_out(provider, &scenario.plain).await?;
    lose(true);
    let answer = provider.refund(&scenario.lost_answer).await;
    lose(false);
    a_lost_answer_can_be_looked_up(provider, &scenario.lost_answer, &answer).await?;
    a_decline_is_definite(provider, &scenario.declined).await?;
    an_unknown_key_finds_nothing(provider, &scenario.never_sent).await?;
    let Some(holds) = &scenario.holds else { return Ok(()) };
    what_is_taken_stays_taken(provider, &holds.taken).await?;
    what_is_let_go_cannot_be_taken(provider, &holds.let_go).await
}

async fn a_page_is_opened_once_and_closed_for_good<P: Provider>(
    provider: &P,
    request: &CheckoutRequest,
) -> Result<(), String> {
    let opened = provider.open_checkout(request).await;
    let Ok(known) = &opened else { return Err(format!("a page is opened: {opened:?}")) };
    let page = &known.page;
    expect(!page.reference.is_empty(), || format!("a page has a reference: {page:?}"))?;
    expect(page.url.is_empty() == known.authorised.is_some(), || {
        format!("a page has a link, unless the money is set aside already: {known:?}")
    })?;
    expect(known.authorised.is_none() || provider.opens_with_money(), || {
        format!("a provider says beforehand that it sets money aside by opening: {known:?}")
    })?;
    let again = provider.open_checkout(request).await;
    expect(again == opened, || format!("the same key again opens no other page: {opened:?}, then {again:?}"))?;
    let checkout = CheckoutRef { payment_id: request.payment_id, reference: page.reference.clone() };
    let seen = provider.look_at_checkout(&checkout).await;
    expect(seen == Ok(None), || format!("a page that is open is seen as open: {seen:?}"))?;
    for _ in 0..2 {
        let closed = provider.close_checkout(&checkout).await;
        expect(closed == Ok(ClosedCheckout::Unpaid), || {
            format!("a page that nobody has paid on is closed, and stays closed: {closed:?}")
        })?;
    }
    let seen = provider.look_at_checkout(&checkout).await;
    expect(matches!(seen, Ok(None | Some(ClosedCheckout::Unpaid))), || {
        format!("a page that nobody has paid on is not seen as paid: {seen:?}")
    })?;
    Ok(())
}

/// Under another key, as each try at a call has: it is the authorisation that can be taken once.
fn again(of: &AuthorisationRef, number: u8) -> AuthorisationRef {
    AuthorisationRef { key: format!("{}.again.{number}", of.key), ..of.clone() }
}

async fn what_is_taken_stays_taken<P: Provider>(provider: &P, of: &AuthorisationRef) -> Result<(), String> {
    let first = provider.capture(of).await;
    let Ok(EndedAuthorisation::Captured(charge)) = &first else {
        return Err(format!("money that is set aside is taken: {first:?}"));
    };
    let is_all = charge.minor_units == of.amount.minor_units && charge.currency == of.amount.currency.as_str();
    expect(is_all && charge.reference == of.reference, || format!("all of it is taken, by its name: {charge:?}"))?;
    let answers = [
        provider.capture(of).await,
        provider.capture(&again(of, 1)).await,
        // Whoever comes too late to let it go is told so.
        provider.void(&again(of, 2)).await,
    ];
    for answer in answers {
        let is_same = matches!(&answer, Ok(EndedAuthorisation::Captured(same)) if same.reference == charge.reference);
        expect(is_same, || format!("what is taken stays taken, and is one charge: {first:?}, then {answer:?}"))?;
    }
    Ok(())
}

async fn what_is_let_go_cannot_be_taken<P: Provider>(provider: &P, of: &AuthorisationRef) -> Result<(), String> {
    let answers = [
        provider.void(of).await,
        provider.void(of).await,
        provider.void(&again(of, 1)).await,
        provider.capture(&again(of, 2)).await,
    ];
    for answer in answers {
        expect(matches!(answer, Ok(EndedAuthorisation::Voided { .. })), || {
            format!("what is let go stays so, and nothing of it is taken: {answer:?}")
        })?;
    }
    Ok(())
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
    // An operator may have it sent again, under another key.
    let later = idempotency_key(request.payment_id, request.refund_id, 2);
    for request in [request, &RefundRequest { key: later, ..request.clone() }] {
        let found = provider.find_refund(request).await;
        expect(found == first.clone().map(Some), || {
            format!("what was paid out is found, also under a later key: {first:?}, but found {found:?}")
        })?;
    }
    Ok(())
}

async fn another_amount_under_a_used_key_is_not_paid_out<P: Provider>(
    provider: &P,
    used: &RefundRequest,
) -> Result<(), String> {
    let mut other = used.clone();
    other.amount.minor_units += 1;
    let answer = provider.refund(&other).await;
    expect(matches!(answer, Err(ProviderError::Declined(_) | ProviderError::Stuck(_))), || {
        format!("another amount under a used key is not paid out: {answer:?}")
    })
}

async fn a_lost_answer_can_be_looked_up<P: Provider>(
    provider: &P,
    request: &RefundRequest,
    answer: &Result<RefundState, ProviderError>,
) -> Result<(), String> {
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
