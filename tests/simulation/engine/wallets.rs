//! What the log says of wallets, counted once more and by none of the rules of services and ledger: what each has, what of it is set aside
//! for whom, and what was taken and went back.

use std::collections::{BTreeMap, BTreeSet};

use domain::{PaymentId, RefundId};
use proto::{Message, Name, common::v1::Money, payments::v1 as wire};
use runtime::log::event_store::StoredEvent;
use uuid::Uuid;

use super::Engine;
use crate::{provider::Sums, workload::Intent};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Wallets {
    /// What can be spent and what is set aside, by wallet.
    wallets: BTreeMap<String, (i64, i64)>,
    pub(super) funds: BTreeMap<PaymentId, Funds>,
}

/// What is set aside for a payment.
#[derive(Debug)]
pub(super) struct Funds {
    standing: Standing,
    minor: i64,
    credits: BTreeMap<RefundId, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held,
    Refused,
    Taken,
    LetGo,
}

fn read<M: Message + Name + Default>(event: &StoredEvent) -> Result<M, String> {
    M::decode(event.data.as_slice()).map_err(|error| error.to_string())
}

fn payment(id: &str) -> Result<PaymentId, String> {
    PaymentId::parse(id).map_err(|rejection| rejection.to_string())
}

fn minor(amount: Option<&Money>) -> i64 {
    amount.map_or(0, |amount| amount.minor_units)
}

impl Wallets {
    /// Takes an event in, if it is about wallets.
    pub(super) fn take(&mut self, event: &StoredEvent) -> Result<(), String> {
        match proto::short_name(&event.message_type) {
            wire::WalletToppedUp::NAME => {
                let wire::WalletToppedUp { wallet_id, amount, .. } = read(event)?;
                self.wallets.entry(wallet_id.clone()).or_default();
                self.add(&wallet_id, (minor(amount.as_ref()), 0))
            }
            wire::WalletWithdrawnFrom::NAME => {
                let wire::WalletWithdrawnFrom { wallet_id, amount, .. } = read(event)?;
                self.add(&wallet_id, (-minor(amount.as_ref()), 0))
            }
            wire::FundsHeld::NAME => {
                let wire::FundsHeld { payment_id, wallet_id, amount, .. } = read(event)?;
                let minor = minor(amount.as_ref());
                self.step(&payment_id, None, Standing::Held, minor)?;
                self.add(&wallet_id, (-minor, minor))
            }
            wire::FundsRejected::NAME => {
                let wire::FundsRejected { payment_id, .. } = read(event)?;
                // Of what the wallet had when it was read: a top-up of that moment may stand before it in the log.
                self.step(&payment_id, None, Standing::Refused, 0)
            }
            wire::FundsCommitted::NAME => {
                let wire::FundsCommitted { payment_id, wallet_id, amount, .. } = read(event)?;
                let minor = minor(amount.as_ref());
                self.step(&payment_id, Some(Standing::Held), Standing::Taken, minor)?;
                self.add(&wallet_id, (0, -minor))
            }
            wire::FundsReleased::NAME => {
                let wire::FundsReleased { payment_id, wallet_id, amount, .. } = read(event)?;
                if wallet_id.is_empty() {
                    return self.step(&payment_id, None, Standing::LetGo, 0);
                }
                let minor = minor(amount.as_ref());
                self.step(&payment_id, Some(Standing::Held), Standing::LetGo, minor)?;
                self.add(&wallet_id, (minor, -minor))
            }
            wire::WalletCredited::NAME => self.credit(&read(event)?),
            _ => Ok(()),
        }
    }

    fn add(&mut self, wallet_id: &str, (available, held): (i64, i64)) -> Result<(), String> {
        let Some(wallet) = self.wallets.get_mut(wallet_id) else {
            return Err(format!("money of wallet {wallet_id} moved before there was any"));
        };
        (wallet.0, wallet.1) = (wallet.0 + available, wallet.1 + held);
        if wallet.0 < 0 || wallet.1 < 0 {
            return Err(format!("wallet {wallet_id} has {} to spend and {} set aside", wallet.0, wallet.1));
        }
        Ok(())
    }

    fn step(&mut self, id: &str, before: Option<Standing>, after: Standing, minor: i64) -> Result<(), String> {
        let payment_id = payment(id)?;
        let known = self.funds.get(&payment_id).map(|funds| (funds.standing, funds.minor));
        if known.map(|(standing, _)| standing) != before || known.is_some_and(|(_, held)| held != minor) {
            return Err(format!("the money for payment {id} went from {known:?} to {after:?} of {minor}"));
        }
        self.funds.insert(payment_id, Funds { standing: after, minor, credits: BTreeMap::new() });
        Ok(())
    }

    fn credit(&mut self, event: &wire::WalletCredited) -> Result<(), String> {
        let wire::WalletCredited { payment_id, wallet_id, refund_id, amount, .. } = event;
        let refund_id = RefundId::parse(refund_id).map_err(|rejection| rejection.to_string())?;
        let minor = minor(amount.as_ref());
        let taken = self.funds.get_mut(&payment(payment_id)?).filter(|funds| funds.standing == Standing::Taken);
        let Some(funds) = taken else {
            return Err(format!("money of payment {payment_id} goes back, and none was taken"));
        };
        if funds.credits.insert(refund_id, minor).is_some() || funds.credits.values().sum::<i64>() > funds.minor {
            return Err(format!("refund {refund_id} of payment {payment_id} went back twice, or there was less"));
        }
        self.add(wallet_id, (minor, 0))
    }

    /// Whether money of this refund has gone back.
    pub(super) fn has_credited(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        self.funds.get(&payment_id).is_some_and(|funds| funds.credits.contains_key(&refund_id))
    }

    /// What is wrong, once everything has come to rest; and what came in and went out of each payment, beside what the bank has of it.
    pub(super) fn check(&self, moved: &mut Sums) -> Result<(), String> {
        if let Some((wallet_id, (_, held))) = self.wallets.iter().find(|(_, (_, held))| *held != 0) {
            return Err(format!("{held} of wallet {wallet_id} are set aside for ever"));
        }
        for (payment_id, funds) in self.funds.iter().filter(|(_, funds)| funds.standing == Standing::Taken) {
            let sum = moved.entry(*payment_id).or_default();
            (sum.0, sum.1) = (sum.0 + funds.minor, sum.1 + funds.credits.values().sum::<i64>());
        }
        Ok(())
    }
}

impl Engine {
    /// Sends what the adapter to wallets has asked for since.
    pub(super) fn carry_letters(&mut self) {
        for (id, message_type, data) in self.letters.take_letters() {
            let at = self.now;
            self.intend(Intent { at, id, message_type, data });
        }
    }

    /// The adapter hears these answers, and what it can read in the rows.
    pub(super) fn answer_letters(&mut self, desk: usize, answered: &BTreeSet<Uuid>, events: &[StoredEvent]) {
        if self.desks[desk].name() != "payments" {
            return;
        }
        for id in answered {
            if let Some(reply) = self.desks[desk].reply(*id) {
                self.letters.answered(*id, reply);
            }
        }
        for event in events.iter().filter(|event| event.message_type == wire::WalletCredited::full_name()) {
            let wire::WalletCredited { payment_id, refund_id, .. } = read(event).unwrap_or_default();
            if let (Ok(payment_id), Ok(refund_id)) = (PaymentId::parse(&payment_id), RefundId::parse(&refund_id)) {
                self.letters.credited(payment_id, refund_id);
            }
        }
    }
}
