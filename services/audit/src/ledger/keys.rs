//! By what all that belongs to some orders is known, so that it can go from one ledger to another.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Attempt, HoldKey, OrderId, PaymentId};

/// Orders, and the keys of what belongs to them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) orders: BTreeSet<OrderId>,
    pub(crate) holds: BTreeSet<HoldKey>,
    pub(crate) payments: BTreeSet<PaymentId>,
}

impl Keys {
    /// Of orders with so many attempts each.
    pub(crate) fn of(orders: impl IntoIterator<Item = (OrderId, Attempt)>) -> Self {
        let mut keys = Self::default();
        for (order_id, attempts) in orders {
            keys.orders.insert(order_id);
            let holds = (1..=attempts).map(|attempt| HoldKey { order_id, attempt });
            keys.payments.extend(holds.clone().map(HoldKey::payment_id));
            keys.holds.extend(holds);
        }
        keys
    }
}

/// Moves what has these keys.
pub(super) fn move_each<'a, K: Ord + 'a, V>(
    from: &mut BTreeMap<K, V>,
    to: &mut BTreeMap<K, V>,
    keys: impl IntoIterator<Item = &'a K>,
) {
    to.extend(keys.into_iter().filter_map(|key| from.remove_entry(key)));
}

/// Moves which of these keys are there.
pub(super) fn move_set<'a, K: Ord + 'a>(
    from: &mut BTreeSet<K>,
    to: &mut BTreeSet<K>,
    keys: impl IntoIterator<Item = &'a K>,
) {
    to.extend(keys.into_iter().filter_map(|key| from.take(key)));
}

/// Moves what is of these payments, of which there is little.
pub(super) fn move_parts<P: Ord, V>(
    from: &mut BTreeMap<(PaymentId, P), V>,
    to: &mut BTreeMap<(PaymentId, P), V>,
    keys: &Keys,
) {
    to.extend(from.extract_if(.., |(payment_id, _), _| keys.payments.contains(payment_id)));
}
