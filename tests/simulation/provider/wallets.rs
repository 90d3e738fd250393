//! The way from the adapter to the wallets, over the simulated broker: what is asked is sent as any command, and its answer is there only
//! at some later try, for a try of the simulation takes no time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{PaymentId, RefundId};
use platform::client::Outgoing;
use proto::common::v1::CommandReply;
use providers::{ProviderError, wallet::Wallets};
use uuid::Uuid;

/// The way, shared with whoever carries its messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedWallets(Arc<Mutex<Letters>>);

#[derive(Debug, Default)]
struct Letters {
    /// The ids under which each command was sent: each try at a call may have one of its own.
    sent: BTreeMap<Content, Vec<Uuid>>,
    answers: BTreeMap<Uuid, CommandReply>,
    to_send: Vec<Letter>,
    credits: BTreeSet<(PaymentId, RefundId)>,
}

/// A command's type and bytes.
type Content = (String, Vec<u8>);

/// A command with its id.
pub(crate) type Letter = (Uuid, String, Vec<u8>);

impl SimulatedWallets {
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent from now on.
    pub(crate) fn take_letters(&self) -> Vec<Letter> {
        std::mem::take(&mut self.letters().to_send)
    }

    /// A command was answered.
    pub(crate) fn answered(&self, id: Uuid, reply: CommandReply) {
        self.letters().answers.insert(id, reply);
    }

    /// Money of a payment has gone back, as the rows have it.
    pub(crate) fn credited(&self, payment_id: PaymentId, refund_id: RefundId) {
        self.letters().credits.insert((payment_id, refund_id));
    }

    pub(crate) fn is_credited_now(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        self.letters().credits.contains(&(payment_id, refund_id))
    }
}

impl Wallets for SimulatedWallets {
    async fn ask(&self, command: &Outgoing<'_>) -> Result<CommandReply, ProviderError> {
        let mut letters = self.letters();
        let Letters { sent, answers, to_send, .. } = &mut *letters;
        let (message_type, data) = (command.message_type.to_owned(), command.data.to_vec());
        let ids = sent.entry((message_type.clone(), data.clone())).or_default();
        if let Some(reply) = ids.iter().find_map(|id| answers.get(id)) {
            return Ok(reply.clone());
        }
        if !ids.contains(&command.id) {
            ids.push(command.id);
            to_send.push((command.id, message_type, data));
        }
        Err(ProviderError::OutcomeUnknown("it is not answered yet".to_owned()))
    }

    async fn is_credited(&self, payment_id: PaymentId, refund_id: RefundId) -> Result<bool, ProviderError> {
        Ok(self.is_credited_now(payment_id, refund_id))
    }
}
