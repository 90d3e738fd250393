//! Everything the fake knows, behind one lock, and what is done to it from outside the API.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    account::{Account, Bank, Cause, RefundCourse, RefundStatus},
    chance::Chance,
    clock::{self, Clock},
    events::Events,
    faults::{EventFaults, Faults, Meter},
    journal::Journal,
    keys::Keys,
    problem::{Problem, Refused},
};

/// Events that a shop gets and should not believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// A payment of another shop on the same account: no metadata.
    OtherShop,
    /// An event of the other mode, live or test.
    OtherMode,
    /// A thin event, which needs an endpoint of its own.
    Thin,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    /// For calls.
    pub(crate) dice: Chance,
    /// For events, of which there is another number when time passes otherwise.
    event_dice: Chance,
    pub(crate) meter: Meter,
    pub(crate) faults: Faults,
    pub(crate) refunds_begin: RefundStatus,
    pub(crate) account: Account,
    pub(crate) events: Events,
    pub(crate) keys: Keys,
    pub(crate) journal: Journal,
    /// What callers must show.
    pub(crate) key: String,
}

impl State {
    pub(crate) fn new(key: String, base_url: String, seed: u64, journal_max: usize) -> Self {
        // Ids differ from run to run, also with the same seed: a shop that outlives the fake must not take one for another.
        let started = u64::try_from(clock::real().as_nanos() % u128::from(u64::MAX)).unwrap_or(0);
        Self {
            clock: Clock::default(),
            dice: Chance::new(seed),
            event_dice: Chance::new(!seed),
            meter: Meter::new(),
            faults: Faults::default(),
            refunds_begin: RefundStatus::Succeeded,
            account: Account::new(key.contains("_live_"), base_url, Chance::new(seed ^ started)),
            events: Events::default(),
            keys: Keys::default(),
            journal: Journal::new(journal_max),
            key,
        }
    }

    /// Does what has come due, and tells of every change since.
    fn turn(&mut self) {
        self.account.turn(self.clock.now());
        self.publish();
    }

    pub(crate) fn publish(&mut self) {
        for emitted in self.account.take_emitted() {
            let faults = self.faults.draw_event(&mut self.event_dice);
            let is_live = self.account.is_live;
            let id = self.account.new_id("evt_");
            self.events.add(id, &emitted, is_live, faults);
            if faults.is_copied && !faults.is_lost {
                let id = self.account.new_id("evt_");
                self.events.add(id, &emitted, is_live, faults);
            }
        }
    }

    /// What a buyer's bank says to a capture that is asked for now.
    pub(crate) fn bank(&mut self) -> Bank {
        let keeps = self.dice.hits(self.faults.capture_declined);
        let withdraws = self.dice.hits(self.faults.capture_fails);
        match (withdraws, keeps) {
            (true, _) => Bank::Withdraws,
            (false, true) => Bank::Keeps,
            (false, false) => Bank::Gives,
        }
    }

    /// How a refund that is made now goes on.
    pub(crate) fn refund_course(&mut self) -> RefundCourse {
        let is_pending = self.dice.hits(self.faults.refund_pending);
        let fails = self.dice.hits(self.faults.refund_fails);
        let after = i64::from(self.faults.refund_settles_s);
        match (is_pending, fails) {
            (true, true) => {
                RefundCourse { begins: RefundStatus::Pending, becomes: Some((after, RefundStatus::Failed)) }
            }
            (true, false) => {
                RefundCourse { begins: RefundStatus::Pending, becomes: Some((after, RefundStatus::Succeeded)) }
            }
            (false, true) => RefundCourse { begins: self.refunds_begin, becomes: Some((after, RefundStatus::Failed)) },
            (false, false) => RefundCourse { begins: self.refunds_begin, becomes: None },
        }
    }

    /// Something that nobody called the API for: a buyer, a bank, somebody at the dashboard.
    pub(crate) fn act<T>(
        &mut self,
        act: impl FnOnce(&mut Account, &Cause) -> Result<T, Problem>,
    ) -> Result<T, Refused> {
        let cause = Cause { now: self.clock.now(), ..Cause::default() };
        act(&mut self.account, &cause).map_err(Refused::from)
    }

    /// Sends an event that is none of the shop's business.
    pub(crate) fn send_foreign(&mut self, foreign: Foreign) -> String {
        let (id, object) = (self.account.new_id("evt_"), self.account.new_id("pi_"));
        let (now, is_live) = (self.clock.now(), self.account.is_live);
        let kind = "payment_intent.succeeded";
        let body = match foreign {
            Foreign::Thin => json!({
                "id": id,
                "object": "v2.core.event",
                "type": "v1.payment_intent.succeeded",
                "livemode": is_live,
                "related_object": { "id": object, "type": "payment_intent", "url": format!("/v1/payment_intents/{object}") },
            }),
            Foreign::OtherShop | Foreign::OtherMode => {
                let livemode = if foreign == Foreign::OtherMode { !is_live } else { is_live };
                json!({
                    "id": id,
                    "object": "event",
                    "api_version": crate::API_VERSION,
                    "created": now,
                    "data": { "object": {
                        "id": object, "object": "payment_intent", "amount": 4_200, "amount_capturable": 0,
                        "amount_received": 4_200, "capture_method": "automatic_async", "confirmation_method": "automatic",
                        "created": now, "currency": "eur", "latest_charge": null, "livemode": livemode, "metadata": {},
                        "payment_method_types": ["card"], "status": "succeeded",
                    } },
                    "livemode": livemode,
                    "pending_webhooks": 1,
                    "request": { "id": null, "idempotency_key": null },
                    "type": kind,
                })
            }
        };
        let faults = EventFaults { is_lost: false, is_sent_twice: false, is_copied: false, delay: Duration::ZERO };
        self.events.add_body(id.clone(), kind, now, body.to_string(), faults);
        id
    }
}

/// The state, shared by the server, the deliveries and whoever holds the fake.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Rung when there may be something to deliver.
    pub(crate) news: Notify,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the state as it is now.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = {
            let mut state = self.locked();
            state.turn();
            let done = act(&mut state);
            state.turn();
            done
        };
        self.news.notify_one();
        done
    }

    /// The same for the deliveries, who need not be told that there is something to deliver.
    pub(crate) fn quietly<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.locked();
        state.turn();
        act(&mut state)
    }
}
