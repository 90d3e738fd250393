//! What every provider must do, as one suite: payments' promises that a refund is paid out once, that nobody pays on a page that is
//! closed, and that money which is set aside is taken or let go, rest on it.

use std::time::Duration;

use platform::clock;

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

/// What a provider that is struck by a fault may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing: so it says.
    Undone,
    /// All or nothing: nobody knows.
    Unknown,
}

/// A call of each kind. The first of each is struck by a fault.
#[derive(Debug, Clone)]
pub struct Struck {
    /// A page that was never opened.
    pub page: CheckoutRequest,
    /// Money that was paid, and that the provider pays out again at once.
    pub refund: RefundRequest,
    /// Money that it has set aside. `None`: it can set none aside, or has no memory of what became of it.
    pub holds: Option<Holds>,
}

/// Tries after a fault until the provider has to have done it, and the pause between two.
const TRIES_MAX: u8 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Strikes one call of each kind by a fault, and goes on as payments does: what surely was not done is sent again, what nobody knows is looked
/// up before it is, and a key that is answered with an error for ever is given up. `strike` says when the provider is struck. How often money
/// has moved, the provider's own books must tell.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn check_fault<P: Provider>(
    provider: &P,
    struck: &Struck,
    harm: Harm,
    strike: impl AsyncFn(bool),
) -> Result<(), String> {
    strike(true).await;
    let answer = provider.open_checkout(&struck.page).await.map(drop);
    strike(false).await;
    says_what_it_may_have_done("opening", harm, answer)?;
    is_opened_after_all(provider, &struck.page).await?;
    strike(true).await;
    let answer = provider.refund(&struck.refund).await.map(drop);
    strike(false).await;
    says_what_it_may_have_done("refunding", harm, answer)?;
    is_refunded_after_all(provider, &struck.refund).await?;
    let Some(holds) = &struck.holds else { return Ok(()) };
    strike(true).await;
    let answers = (provider.capture(&holds.taken).await.map(drop), provider.void(&holds.let_go).await.map(drop));
    strike(false).await;
    says_what_it_may_have_done("taking", harm, answers.0)?;
    says_what_it_may_have_done("letting go", harm, answers.1)?;
    is_ended_after_all(provider, &holds.taken, true).await?;
    is_ended_after_all(provider, &holds.let_go, false).await
}

/// A fault is no answer: neither is it done, nor is it refused for good.
fn says_what_it_may_have_done(what: &str, harm: Harm, answer: Result<(), ProviderError>) -> Result<(), String> {
    let is_said = match (harm, &answer) {
        (Harm::Undone, Err(error)) => {
            matches!(error, ProviderError::Busy(_) | ProviderError::Unavailable(_) | ProviderError::Misconfigured(_))
        }
        (Harm::Unknown, Err(error)) => matches!(error, ProviderError::OutcomeUnknown(_) | ProviderError::Stuck(_)),
        (_, Ok(())) => false,
    };
    expect(is_said, || format!("{what} under a fault ({harm:?}) is answered as what it is: {answer:?}"))
}

/// Each try at opening has a key of its own.
async fn is_opened_after_all<P: Provider>(provider: &P, request: &CheckoutRequest) -> Result<(), String> {
    let mut last = None;
    for number in 1..TRIES_MAX {
        let request = CheckoutRequest { key: format!("{}.again.{number}", request.key), ..request.clone() };
        match provider.open_checkout(&request).await {
            Ok(_opened) => return Ok(()),
            Err(ProviderError::Declined(why)) => return Err(format!("a page is not refused for a fault: {why}")),
            Err(error) => last = Some(error),
        }
        clock::sleep(PAUSE).await;
    }
    Err(format!("a page is opened once the fault is over: {last:?}"))
}

/// What nobody knows is looked up first, and another key is used only where the one before is of no use for ever and nothing is found.
async fn is_refunded_after_all<P: Provider>(provider: &P, request: &RefundRequest) -> Result<(), String> {
    let mut sent = request.clone();
    let mut keys = 1;
    let mut last = None;
    for _ in 1..TRIES_MAX {
        if let Ok(Some(RefundState::Refunded { .. })) = provider.find_refund(&sent).await {
            return Ok(());
        }
        match provider.refund(&sent).await {
            Ok(RefundState::Refunded { .. }) => return Ok(()),
            Ok(other) => return Err(format!("a refund is paid out after a fault: {other:?}")),
            Err(ProviderError::Declined(why)) => return Err(format!("a refund is not refused for a fault: {why}")),
            Err(ProviderError::Stuck(_)) => {
                keys += 1;
                sent.key = idempotency_key(request.payment_id, request.refund_id, keys);
            }
            Err(error) => last = Some(error),
        }
        clock::sleep(PAUSE).await;
    }
    Err(format!("a refund is paid out once the fault is over: {last:?}"))
}

async fn is_ended_after_all<P: Provider>(provider: &P, of: &AuthorisationRef, is_taken: bool) -> Result<(), String> {
    let mut last = None;
    for number in 0..TRIES_MAX {
        let of = again(of, number);
        let answer = if is_taken { provider.capture(&of).await } else { provider.void(&of).await };
        match answer {
            Ok(ended) => {
                return expect(matches!(ended, EndedAuthorisation::Captured(_)) == is_taken, || {
                    format!("a fault does not turn taking into letting go, or the other way round: {ended:?}")
                });
            }
            Err(ProviderError::Declined(why)) => return Err(format!("a fault is no refusal: {why}")),
            Err(error) => last = Some(error),
        }
        clock::sleep(PAUSE).await;
    }
    Err(format!("it is taken or let go once the fault is over: {last:?}"))
}

/// A refund that the provider has accepted and pays out days later. `settle` has it paid out.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn a_refund_that_takes_days_is_known<P: Provider>(
    provider: &P,
    request: &RefundRequest,
    settle: impl FnOnce(),
) -> Result<(), String> {
    let first = provider.refund(request).await;
    let Ok(RefundState::Pending { reference }) = &first else {
        return Err(format!("a refund that is not paid out yet is pending: {first:?}"));
    };
    let found = provider.find_refund(request).await;
    expect(found == first.clone().map(Some), || format!("a pending refund is found as that: {found:?}"))?;
    settle();
    let found = provider.find_refund(request).await;
    expect(found == Ok(Some(RefundState::Refunded { reference: reference.clone() })), || {
        format!("a refund that was pending is found as paid out: {found:?}")
    })
}

/// A refund that the provider has accepted and that fails later. `fail` has it fail, if its script does not.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn a_refund_that_fails_later_is_known_and_can_be_sent_again<P: Provider>(
    provider: &P,
    request: &RefundRequest,
    fail: impl AsyncFnOnce(),
) -> Result<(), String> {
    let first = provider.refund(request).await;
    expect(matches!(first, Ok(RefundState::Refunded { .. } | RefundState::Pending { .. })), || {
        format!("a refund that fails later is accepted first: {first:?}")
    })?;
    fail().await;
    let found = provider.find_refund(request).await;
    expect(matches!(found, Ok(Some(RefundState::Failed { .. }))), || {
        format!("a refund that has failed is found as that: {found:?}")
    })?;
    let key = idempotency_key(request.payment_id, request.refund_id, 2);
    let anew = RefundRequest { key, ..request.clone() };
    let found = provider.find_refund(&anew).await;
    expect(found == Ok(None), || format!("what failed under an earlier key is nothing: {found:?}"))?;
    is_refunded_after_all(provider, &anew).await
}

/// A refund of money that went back already, by another way than ours.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn what_went_back_elsewhere_is_declined<P: Provider>(
    provider: &P,
    request: &RefundRequest,
) -> Result<(), String> {
    a_decline_is_definite(provider, request).await?;
    an_unknown_key_finds_nothing(provider, request).await
}

/// Money that was set aside for so long that it is not any more.
///
/// # Errors
/// The first promise that the provider breaks, in words.
pub async fn what_has_lapsed_is_gone<P: Provider>(provider: &P, of: &AuthorisationRef) -> Result<(), String> {
    for answer in
        [provider.capture(of).await, provider.void(&again(of, 1)).await, provider.capture(&again(of, 2)).await]
    {
        expect(matches!(answer, Ok(EndedAuthorisation::Voided { .. })), || {
            format!("of what has lapsed nothing is taken: {answer:?}")
        })?;
    }
    Ok(())
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
