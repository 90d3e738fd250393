//! Giving up: what cannot be handled is kept whole for operators, and whatever somebody is still owed comes again.

use std::time::Duration;

use domain::Rejection;
use platform::{clock, config::ms, database::answered, error::Error};

use super::{CommitResult, Committer, Failure};
use crate::{
    batch::{
        dead_letter,
        draft::{Answered, DeadLetter, Reply, kept_for_operators, refused_once, rejected},
        inbox,
        races::Races,
        timers::{self, Due},
    },
    effects,
    inbound::input::{self, Input, InputKind},
    service::Service,
};

/// What was given up, and is owed all the same, is tried again after so long: an outside call costs others something.
const CALL_AGAIN_AFTER: Duration = Duration::from_mins(10);
const TIMER_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// How long a timer waits that failed, maybe for the place's fault.
const TIMER_PUT_OFF_FOR: Duration = Duration::from_secs(5);

impl<S: Service> Committer<S> {
    /// Keeps one input as a dead letter, with the reason for operators, and what its sender hears of it.
    pub(super) async fn give_up_at(
        &self,
        inputs: &[Input<S::Command>],
        culprit: usize,
        rejection: Rejection,
        done: &mut CommitResult,
    ) -> Option<()> {
        let Some(input) = inputs.get(culprit) else { return Some(()) };
        let reply = loop {
            let mut races = Races::new(self.conflict_tries_max);
            // A failure to keep the letter is one of the surroundings, and patience outlasts it.
            match self.retry_until_final(&mut races, || self.give_up(input, &rejection)).await? {
                Ok(reply) => break reply,
                Err(failure) => {
                    let error = failure.rejection().reason;
                    tracing::error!(error, "cannot keep a dead letter");
                }
            }
            if self.shutdown.is_requested() {
                return None;
            }
            clock::sleep(ms(1_000)).await;
        };
        if let Some(slot) = done.replies.get_mut(culprit) {
            *slot = reply;
        }
        Some(())
    }

    /// A command's refusal is final: it is kept together with the letter, or what was answered meanwhile stays.
    async fn give_up(&self, input: &Input<S::Command>, rejection: &Rejection) -> Result<Option<Reply>, Failure> {
        let at = clock::now();
        let answer = kept_for_operators(&rejection.code);
        let mut reply = input.reply_to.as_ref().map(|to| Reply::first(refused_once(&to.command_id, &answer)));
        let letter = DeadLetter { letter: input.raw(), rejection: rejection.clone() };
        let mut connection = self.connection().await?;
        let keep = async {
            let mut transaction = connection.begin().await?;
            if let InputKind::Command { body_hash, .. } = &input.work {
                let id = input.cause.id;
                let refused = Answered { body_hash: body_hash.clone(), reply: rejected(&id.to_string(), &answer) };
                if let Some(before) = inbox::keep(&mut transaction, id, &refused, at).await? {
                    return Ok(Some(before.repeated(id, body_hash)));
                }
                reply = Some(Reply::first(refused.reply));
            }
            if let InputKind::Outcome { key, .. } = &input.work {
                // It is owed all the same.
                effects::put_off(&mut transaction, key, CALL_AGAIN_AFTER, &rejection.reason).await?;
                dead_letter::keep_once(&mut transaction, S::NAME, &letter, at).await?;
            } else {
                dead_letter::keep(&mut transaction, S::NAME, std::slice::from_ref(&letter), at).await?;
            }
            transaction.commit().await?;
            Ok(reply)
        };
        let kept = answered(keep).await.map_err(|error| Error::database("keeping a dead letter", error))?;
        self.keep(connection);
        Ok(kept)
    }

    /// Puts a timer off, and if it is given up, keeps a dead letter of it.
    pub(super) async fn give_up_timer(
        &self,
        due: &Due,
        rejection: &Rejection,
        is_given_up: bool,
    ) -> Result<CommitResult, Failure> {
        let at = clock::now();
        let mut connection = self.connection().await?;
        let keep = async {
            let mut transaction = connection.begin().await?;
            let until = at + if is_given_up { TIMER_AGAIN_AFTER } else { TIMER_PUT_OFF_FOR };
            if timers::put_off(&mut transaction, due, until).await? && is_given_up {
                let letter = input::timer::<S>(&due.stream, due.due_at).raw();
                let letter = DeadLetter { letter, rejection: rejection.clone() };
                dead_letter::keep_once(&mut transaction, S::NAME, &letter, at).await?;
            }
            transaction.commit().await?;
            Ok(CommitResult::default())
        };
        let kept = answered(keep).await.map_err(|error: sqlx::Error| Error::database("putting a timer off", error))?;
        self.keep(connection);
        Ok(kept)
    }
}
