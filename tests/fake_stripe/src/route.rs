//! Which call does what.

use serde_json::{Value, json};

use crate::{
    account::{Bank, Cause, RefundOrigin},
    events::Wanted,
    form::Branch,
    params::{Params, TEXT_MAX},
    problem::Problem,
    render,
    requests::{NewCancel, NewCapture, NewCoupon, NewRefund, NewSession, Page},
    state::State,
};

impl State {
    pub(crate) fn route(&mut self, cause: &Cause, method: &str, path: &str, form: Branch) -> Result<Value, Problem> {
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
        let unknown = || Problem::unknown_url(method, path);
        let Some((&"v1", steps)) = steps.split_first() else { return Err(unknown()) };
        let mut call = Params::new(form);
        let expand = call.texts("expand")?;
        render::check_expand(steps.first().copied().unwrap_or_default(), &expand)?;
        let done = match method {
            "POST" => self.change(cause, steps, call),
            "GET" => self.read(cause, steps, call),
            _other => None,
        };
        Ok(render::expand(&self.account, done.ok_or_else(unknown)??, &expand))
    }

    fn change(&mut self, cause: &Cause, steps: &[&str], call: Params) -> Option<Result<Value, Problem>> {
        let bank = if let ["payment_intents", _, "capture"] = steps { self.bank() } else { Bank::Gives };
        let account = &mut self.account;
        let done = match steps {
            ["checkout", "sessions"] => NewSession::read(call).and_then(|new| account.create_session(cause, new)),
            ["checkout", "sessions", id, "expire"] => call.end().and_then(|()| account.expire_session(cause, id)),
            ["payment_intents", id, "capture"] => {
                NewCapture::read(call).and_then(|new| account.ask_bank(cause, id, bank)?.capture(cause, id, new))
            }
            ["payment_intents", id, "cancel"] => NewCancel::read(call).and_then(|new| account.cancel(cause, id, &new)),
            ["refunds"] => {
                let course = self.refund_course();
                let new = NewRefund::read(call);
                new.and_then(|new| self.account.create_refund(cause, new, RefundOrigin::Api, course))
            }
            ["coupons"] => NewCoupon::read(call, cause.now).and_then(|new| account.create_coupon(cause, new)),
            _other => return None,
        };
        Some(done)
    }

    fn read(&self, cause: &Cause, steps: &[&str], call: Params) -> Option<Result<Value, Problem>> {
        let account = &self.account;
        let show = |call: Params, id: &str, prefix: &str, what: &str| {
            call.end()?;
            let shown = if id.starts_with(prefix) { account.show(id) } else { None };
            shown.ok_or_else(|| Problem::missing(what, id).param("id"))
        };
        let done = match steps {
            ["checkout", "sessions", id] => show(call, id, "cs_", "checkout.session"),
            ["checkout", "sessions", id, "line_items"] => self.lines(id, call),
            ["payment_intents", id] => show(call, id, "pi_", "payment_intent"),
            ["charges", id] => show(call, id, "ch_", "charge"),
            ["refunds", id] => show(call, id, "re_", "refund"),
            ["disputes", id] => show(call, id, "du_", "dispute"),
            ["balance_transactions", id] => show(call, id, "txn_", "balance_transaction"),
            ["refunds"] => self.list_refunds(call),
            ["events"] => self.list_events(call),
            ["events", id] => {
                call.end().and_then(|()| self.events.find(id).ok_or_else(|| Problem::missing("event", id).param("id")))
            }
            ["coupons", id] => call.end().and_then(|()| {
                let found = account.coupons.get(*id).ok_or_else(|| Problem::missing("coupon", id).param("coupon"));
                found.map(|coupon| render::coupon(account, coupon, cause.now))
            }),
            _other => return None,
        };
        Some(done)
    }

    fn lines(&self, id: &str, mut call: Params) -> Result<Value, Problem> {
        // A session has no more lines than fit a page.
        Page::read(&mut call)?;
        call.end()?;
        self.account.session_lines(id)
    }

    fn list_refunds(&self, mut call: Params) -> Result<Value, Problem> {
        let page = Page::read(&mut call)?;
        let intent = call.text("payment_intent", TEXT_MAX)?;
        let charge = call.text("charge", TEXT_MAX)?;
        call.end()?;
        let all: Vec<&String> = match (&charge, &intent) {
            (Some(charge), _) => self.account.find_charge(charge)?.refunds.iter().collect(),
            (None, Some(intent)) => {
                let charges = self.account.find_intent(intent)?.charges.iter();
                let charges = charges.filter_map(|charge| self.account.charges.get(charge));
                charges.flat_map(|charge| charge.refunds.iter()).collect()
            }
            (None, None) => self.account.refund_order.iter().collect(),
        };
        let refunds = all.into_iter().rev().filter_map(|id| self.account.refunds.get(id));
        let ids =
            refunds.filter(|refund| (page.from..=page.to).contains(&refund.created)).map(|refund| refund.id.clone());
        let (ids, has_more) = page.of(ids.collect(), "refund")?;
        let data: Vec<Value> = ids.iter().filter_map(|id| self.account.show(id)).collect();
        Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": "/v1/refunds" }))
    }

    fn list_events(&self, mut call: Params) -> Result<Value, Problem> {
        let page = Page::read(&mut call)?;
        let mut types = call.texts("types")?;
        types.extend(call.text("type", TEXT_MAX)?);
        let wanted = Wanted { types, is_delivered: call.boolean("delivery_success")?, from: page.from, to: page.to };
        call.end()?;
        let (ids, has_more) = page.of(self.events.list(&wanted), "event")?;
        let data: Vec<Value> = ids.iter().filter_map(|id| self.events.find(id)).collect();
        Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": "/v1/events" }))
    }
}

impl Page {
    /// The ids of this page, and whether there are more behind it.
    fn of(&self, mut ids: Vec<String>, what: &str) -> Result<(Vec<String>, bool), Problem> {
        let place = |id: &String| {
            let found = ids.iter().position(|other| other == id);
            found.ok_or_else(|| Problem::missing(what, id).status(400))
        };
        if let Some(id) = &self.starting_after {
            let first = place(id)?.saturating_add(1);
            ids.drain(..first);
        } else if let Some(id) = &self.ending_before {
            let end = place(id)?;
            ids.truncate(end);
            // Those next to it, not the newest.
            let from = end.saturating_sub(self.limit);
            let has_more = from > 0;
            ids.drain(..from);
            return Ok((ids, has_more));
        }
        let has_more = ids.len() > self.limit;
        ids.truncate(self.limit);
        Ok((ids, has_more))
    }
}
