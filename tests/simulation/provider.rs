//! A payment provider in memory that does whatever the contract of adapters allows, and remembers what it did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{PaymentId, RefundId};
use payments::{
    event::Checkout,
    provider::{Provider, ProviderError, RefundRequest, Standing},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// The provider, shared with whoever audits it.
#[derive(Debug, Clone)]
pub(crate) struct Bank(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    rng: StdRng,
    /// Of 1,000 calls, how many go wrong.
    wrong: u32,
    keys: BTreeMap<String, Key>,
}

#[derive(Debug)]
struct Key {
    payment_id: PaymentId,
    refund_id: RefundId,
    amount_minor: i64,
    is_moved: bool,
}

impl Bank {
    pub(crate) fn new(seed: u64, wrong: u32) -> Self {
        let books = Books { rng: StdRng::seed_from_u64(seed), wrong, keys: BTreeMap::new() };
        Self(Arc::new(Mutex::new(books)))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.books().wrong = 0;
    }

    /// Whether any money of this refund has moved: what an operator finds who asks.
    pub(crate) fn has_moved(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        self.books().keys.values().any(|key| key.payment_id == payment_id && key.refund_id == refund_id && key.is_moved)
    }

    /// Refunds whose money moved under more than one key, and how much moved of each payment.
    pub(crate) fn audit(&self) -> (Vec<RefundId>, BTreeMap<PaymentId, i64>) {
        let (mut moves, mut sums) = (BTreeMap::new(), BTreeMap::new());
        for key in self.books().keys.values().filter(|key| key.is_moved) {
            *moves.entry((key.payment_id, key.refund_id)).or_insert(0_u32) += 1;
            *sums.entry(key.payment_id).or_insert(0) += key.amount_minor;
        }
        (moves.into_iter().filter(|(_, moves)| *moves > 1).map(|((_, refund_id), _)| refund_id).collect(), sums)
    }
}

fn refunded(key: &str) -> Standing {
    Standing::Refunded { reference: format!("moved-{key}") }
}

impl Provider for Bank {
    fn checkout(payment_id: PaymentId, payment_method: &str) -> Checkout {
        payments::sandbox::Sandbox::checkout(payment_id, payment_method)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<Standing, ProviderError> {
        let mut books = self.books();
        let wrong = books.wrong;
        let fate = if books.rng.random_ratio(wrong, 1_000) { books.rng.random_range(0..4) } else { 4 };
        if fate == 0 {
            return Err(ProviderError::Unavailable("busy".to_owned()));
        }
        if fate == 1 {
            return Err(ProviderError::OutcomeUnknown("it never arrived".to_owned()));
        }
        let declines = fate == 2;
        let RefundRequest { payment_id, refund_id, amount, .. } = *request;
        let key = books.keys.entry(request.key.clone()).or_insert(Key {
            payment_id,
            refund_id,
            amount_minor: amount.minor_units,
            is_moved: !declines,
        });
        if key.amount_minor != request.amount.minor_units {
            return Err(ProviderError::Declined("the key was used for another amount".to_owned()));
        }
        match (key.is_moved, fate) {
            (false, _) => Err(ProviderError::Declined("no".to_owned())),
            (true, 3) => Err(ProviderError::OutcomeUnknown("the answer was lost".to_owned())),
            (true, _) => Ok(refunded(&request.key)),
        }
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<Standing>, ProviderError> {
        let mut books = self.books();
        let wrong = books.wrong;
        if books.rng.random_ratio(wrong, 1_000) {
            return Err(ProviderError::Unavailable("busy".to_owned()));
        }
        Ok(books.keys.get(&request.key).filter(|key| key.is_moved).map(|_moved| refunded(&request.key)))
    }
}
