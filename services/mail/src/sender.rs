//! Sending what is due: takes a mail, notes that it is being sent, hands it over, and notes what became of it.

use std::{sync::Arc, time::Duration};

use lettre::Address;
use metrics::counter;
use platform::{
    clock,
    config::ms,
    database::Pool,
    error::Error,
    health::Health,
    metric::{Label, Metric},
    retry,
    shutdown::Shutdown,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    about::story,
    message::{self, Sender},
    next::{Outcome, Rules, State, Tried},
    smtp::Server,
    store::{self, Due},
    templates::Templates,
};

const HANDED_TOTAL: &str = "holdfast_mail_handed_total";

pub(crate) const HANDED: Metric = Metric::counter(
    HANDED_TOTAL,
    &[Label { name: "outcome", values: &["sent", "again", "refused", "unknown"] }],
    "tries to hand a mail over, by what became of them",
);

/// What the probes call this part.
const SENDING: &str = "sending mail";

/// All that sending needs.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) pool: Pool,
    pub(crate) server: Server,
    pub(crate) sender: Sender,
    pub(crate) templates: Templates,
    pub(crate) rules: Rules,
    pub(crate) settings: platform::config::Mail,
    /// Rung when mail was queued.
    pub(crate) bell: Notify,
}

/// A mail that is noted as being sent.
struct Begun {
    mail_id: Uuid,
    tried: Tried,
    attempt: i32,
    to: Address,
    message: Vec<u8>,
}

/// What was found due.
enum Taken {
    Nothing,
    /// One that is over without having been tried.
    Ended,
    Mail(Box<Begun>),
}

/// Sends what is due until asked to stop, and then waits for what is under way.
pub(crate) async fn run(post: Arc<Post>, health: Health, mut shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(post.settings.connections_max));
    let mut under_way = JoinSet::new();
    let mut waits = failure_waits();
    while !shutdown.is_requested() {
        while under_way.try_join_next().is_some() {}
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = shutdown.requested() => break,
        };
        let Ok(slot) = slot else { break };
        match post.pool.answered(take(&post)).await {
            Ok(taken) => {
                health.goes_on(SENDING);
                waits = failure_waits();
                match taken {
                    Taken::Mail(begun) => {
                        let (post, shutdown) = (Arc::clone(&post), shutdown.clone());
                        under_way.spawn(send(post, *begun, slot, shutdown).in_current_span());
                    }
                    Taken::Ended => {}
                    Taken::Nothing => rest(&post, ms(post.settings.poll_ms), &mut shutdown).await,
                }
            }
            Err(error) => {
                let error = error.chain();
                tracing::warn!(error, "cannot look for mail that is due");
                health.stuck(SENDING, error);
                rest(&post, waits.next().unwrap_or_default(), &mut shutdown).await;
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

fn failure_waits() -> impl Iterator<Item = Duration> {
    retry::backoff(ms(100), ms(5_000))
}

async fn rest(post: &Post, longest: Duration, shutdown: &mut Shutdown) {
    tokio::select! {
        () = clock::sleep(longest) => {}
        () = post.bell.notified() => {}
        () = shutdown.requested() => {}
    }
}

/// Takes one mail that is due, and commits that it is being sent before anything of it goes out.
async fn take(post: &Post) -> Result<Taken, Error> {
    let mut session = post.pool.session().await?;
    let mut transaction = session.begin().await.map_err(|error| Error::database("looking for mail", error))?;
    let Some(due) = store::take(&mut transaction).await? else { return Ok(Taken::Nothing) };
    let (mail_id, attempt) = (due.mail_id, due.attempt.saturating_add(1));
    let taken = match prepared(post, &mut transaction, due).await? {
        Ok((to, message, tried)) => {
            store::sending(&mut transaction, mail_id, &message, post.server.lease()).await?;
            Taken::Mail(Box::new(Begun { mail_id, tried, attempt, to, message }))
        }
        Err((state, why)) => {
            tracing::warn!(%mail_id, state = state.as_str(), why, "a mail was not sent");
            store::end(&mut transaction, mail_id, state, &why).await?;
            Taken::Ended
        }
    };
    transaction.commit().await.map_err(|error| Error::database("noting that a mail is being sent", error))?;
    Ok(taken)
}

/// To whom a mail goes and what it says, or why it can never be sent. What was sent once is sent again as it was.
async fn prepared(
    post: &Post,
    transaction: &mut sqlx::Transaction<'_, sqlx::Postgres>,
    mut due: Due,
) -> Result<Result<(Address, Vec<u8>, Tried), (State, String)>, Error> {
    let Some(email) = due.email.take() else {
        return Ok(Err((State::Forgotten, "the address was forgotten".to_owned())));
    };
    let Ok(to) = email.parse::<Address>() else {
        return Ok(Err((State::Refused, "the address is none that mail can be sent to".to_owned())));
    };
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let tried = Tried {
        attempt: count(due.attempt).saturating_add(1),
        unknowns: count(due.unknowns),
        give_up_at: due.give_up_at,
    };
    if let Some(message) = due.message.take() {
        return Ok(Ok((to, message, tried)));
    }
    let Some((placed, message_type, data)) = store::events(transaction, &due).await? else {
        return Ok(Err((State::Refused, "the log has no event that it follows from".to_owned())));
    };
    let told = story(&placed, &message_type, &data, due.happened_at).map_err(|rejection| rejection.reason);
    let words = told.and_then(|story| post.templates.render(due.about.kind, &story));
    let bytes = words.and_then(|words| message::bytes(&post.sender, &due.about, due.happened_at, &to, &words));
    Ok(match bytes {
        Ok(message) => Ok((to, message, tried)),
        Err(why) => Err((State::Refused, why)),
    })
}

/// Hands one mail over, notes what became of it, and only then says good-bye.
async fn send(post: Arc<Post>, begun: Begun, _slot: OwnedSemaphorePermit, mut shutdown: Shutdown) {
    let Begun { mail_id, tried, attempt, to, message } = begun;
    let handed = post.server.hand_over(&post.sender.bounces, &to, &message, &mut shutdown).await;
    let (outcome, words) = described(&handed.outcome);
    counter!(HANDED_TOTAL, "outcome" => outcome).increment(1);
    match &handed.outcome {
        Outcome::Sent(_) => tracing::info!(%mail_id, attempt, reply = words, "a mail was sent"),
        Outcome::Again(_) | Outcome::Refused(_) | Outcome::Unknown(_) => {
            tracing::warn!(%mail_id, attempt, outcome, why = words, "a mail was not handed over for sure");
        }
    }
    let next = post.rules.next(tried, handed.outcome.clone(), clock::now());
    let mut waits = retry::backoff(ms(50), ms(2_000));
    loop {
        match store::record(&post.pool, mail_id, attempt, &next).await {
            Ok(true) => break,
            Ok(false) => {
                tracing::warn!(%mail_id, attempt, "another try of this mail has begun before this one was noted");
                break;
            }
            // After its lease it counts as unknown, which this try does not let stand if it can still say more.
            Err(error) => tracing::warn!(%mail_id, error = error.chain(), "cannot note what became of a mail"),
        }
        clock::sleep(waits.next().unwrap_or_default()).await;
    }
    handed.goodbye().await;
}

fn described(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Sent(words) => ("sent", words),
        Outcome::Again(words) => ("again", words),
        Outcome::Refused(words) => ("refused", words),
        Outcome::Unknown(words) => ("unknown", words),
    }
}
