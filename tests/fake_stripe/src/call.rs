//! One call of the API from its gates to its answer: limits, keys, parameters, the effect, and what goes wrong with it.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    account::Cause,
    faults::CallFaults,
    form::{self, Branch},
    journal::Exchange,
    keys::{Kept, Known},
    problem::Problem,
    state::State,
};

/// A call as it came in.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The query of a `GET`, the body of a `POST`.
    pub(crate) form: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) version: Option<String>,
}

/// Whether and when the caller gets to see the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    AtOnce,
    After(Duration),
    /// The connection is closed instead.
    Never,
    /// The connection is closed after so long.
    NeverAfter(Duration),
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) request_id: String,
    /// The call's that is answered again.
    pub(crate) original: Option<String>,
    pub(crate) should_retry: Option<bool>,
    pub(crate) manner: Manner,
    fault: Option<&'static str>,
}

/// Keys may have so many characters.
const KEY_MAX: usize = 255;

impl State {
    pub(crate) fn serve(&mut self, call: &Call) -> Answer {
        let request_id = self.account.new_id("req_");
        let faults = self.faults.draw_call(&call.path, &mut self.dice);
        let form = form::parse(&call.form);
        let answer = match &form {
            Ok(form) => self.pass(call, form, faults, &request_id),
            Err(problem) => Answer::refused(&request_id, problem, None),
        };
        self.note(call, form.ok().as_ref(), &answer);
        answer
    }

    fn pass(&mut self, call: &Call, form: &Branch, faults: CallFaults, request_id: &str) -> Answer {
        if self.meter.is_full(self.faults.calls_per_s) {
            return Answer::refused(request_id, &Problem::busy("rate_limit"), Some("calls_per_s"));
        }
        if let Some((problem, fault)) = self.obstacle(call, faults) {
            let mut answer = Answer::refused(request_id, &problem, fault);
            answer.should_retry = (fault == Some("lock_timeout")).then_some(true);
            return answer;
        }
        if faults.lost_request {
            let problem = Problem::server_error();
            return Answer { manner: Manner::Never, ..Answer::refused(request_id, &problem, Some("lost_request")) };
        }
        let answer = self.answer(call, form, faults, request_id);
        if faults.lost_answer {
            Answer { manner: Manner::Never, fault: Some("lost_answer"), ..answer }
        } else if let Some(time) = faults.hang {
            Answer { manner: Manner::NeverAfter(time), fault: Some("hang"), ..answer }
        } else if faults.bad_gateway {
            let body = "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned();
            Answer { status: 502, body, fault: Some("bad_gateway"), ..answer }
        } else if let Some(time) = faults.slow {
            Answer { manner: Manner::After(time), fault: answer.fault.or(Some("slow")), ..answer }
        } else {
            answer
        }
    }

    /// What refuses a call before anything looks at its key.
    fn obstacle(&self, call: &Call, faults: CallFaults) -> Option<(Problem, Option<&'static str>)> {
        if faults.busy {
            return Some((Problem::busy("rate_limit"), Some("busy")));
        }
        match call.authorization.as_deref().and_then(shown_key) {
            None => {
                let text = "You did not provide an API key. Provide it in the Authorization header, using Bearer auth.";
                return Some((Problem::unauthorized(text), None));
            }
            Some(key) if key != self.key => return Some((Problem::unauthorized("Invalid API Key provided."), None)),
            Some(_) => {}
        }
        if faults.forbidden {
            return Some((Problem::no_permission(), Some("forbidden")));
        }
        if faults.lock_timeout {
            return Some((Problem::busy("lock_timeout"), Some("lock_timeout")));
        }
        let is_form =
            call.content_type.as_deref().is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !call.form.is_empty() && call.method == "POST" && !is_form {
            let text = "Invalid request (check that your POST content type is application/x-www-form-urlencoded).";
            return Some((Problem::invalid(text), None));
        }
        None
    }

    /// Does what is asked, or says what was answered under the same key.
    fn answer(&mut self, call: &Call, form: &Branch, faults: CallFaults, request_id: &str) -> Answer {
        let key = call.key.as_deref().filter(|_key| call.method == "POST");
        let now = self.clock.now();
        match key.map(|key| self.known(now, key, call, form)) {
            Some(Err(problem)) => return Answer::refused(request_id, &problem, None),
            Some(Ok(Some(kept))) => {
                let answered = Answer::new(request_id, kept.status, kept.body, None);
                return Answer { original: Some(kept.request_id), ..answered };
            }
            Some(Ok(None)) | None => {}
        }
        let cause = Cause { now, request_id: Some(request_id.to_owned()), key: key.map(ToOwned::to_owned) };
        let (outcome, fault) = self.run(&cause, call, form, faults);
        let has_begun = outcome.as_ref().map_or_else(|problem| problem.has_begun, |_done| true);
        let mut answer = match &outcome {
            Ok(body) => Answer::new(request_id, 200, body.to_string(), fault),
            Err(problem) => Answer::refused(request_id, problem, fault),
        };
        if answer.status == 409 {
            answer.should_retry = Some(true);
        }
        if let Some(key) = key.filter(|_key| has_begun) {
            let kept = Kept { status: answer.status, body: answer.body.clone(), request_id: request_id.to_owned() };
            let free_at = Instant::now() + faults.hang.or(faults.slow).unwrap_or_default();
            self.keys.keep(now, key, &call.path, form.clone(), free_at, kept);
        }
        answer
    }

    fn run(
        &mut self,
        cause: &Cause,
        call: &Call,
        form: &Branch,
        faults: CallFaults,
    ) -> (Result<Value, Problem>, Option<&'static str>) {
        if faults.error_before {
            return (Err(Problem::server_error()), Some("error_before"));
        }
        match self.route(cause, &call.method, &call.path, form.clone()) {
            Ok(_done) if faults.error_after => (Err(Problem::server_error()), Some("error_after")),
            outcome => (outcome, None),
        }
    }

    /// What was answered under this key, if anything was.
    fn known(&mut self, now: i64, key: &str, call: &Call, form: &Branch) -> Result<Option<Kept>, Problem> {
        if key.chars().count() > KEY_MAX {
            let text = format!("Idempotency keys can have up to {KEY_MAX} characters.");
            return Err(Problem::idempotency(400, text));
        }
        let advice = format!("Try using a key other than '{key}' if you meant to execute a different request.");
        match self.keys.look_up(now, key, &call.path, form) {
            Known::Nothing => Ok(None),
            Known::Answered(kept) => Ok(Some(kept)),
            Known::OtherPath(path) => Err(Problem::idempotency(
                400,
                format!(
                    "Keys for idempotent requests can only be used for the same endpoint they were first used for ('{path}'). {advice}"
                ),
            )),
            Known::OtherParams => Err(Problem::idempotency(
                400,
                format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. {advice}"
                ),
            )),
            Known::IsRunning => {
                let text = "There is currently another in-progress request using this Idempotent Key.";
                Err(Problem::idempotency(409, text).code("idempotency_key_in_use"))
            }
        }
    }

    fn note(&mut self, call: &Call, form: Option<&Branch>, answer: &Answer) {
        let mut notes = Vec::new();
        match call.version.as_deref() {
            Some(crate::API_VERSION) => {}
            Some(other) => notes.push(format!("Stripe-Version is {other}")),
            None => notes.push("no Stripe-Version".to_owned()),
        }
        if call.method == "POST" && call.key.is_none() {
            notes.push("no Idempotency-Key".to_owned());
        }
        self.journal.add(Exchange {
            at: self.clock.now(),
            request_id: answer.request_id.clone(),
            method: call.method.clone(),
            path: call.path.clone(),
            params: form.map_or(Value::Null, form::to_json),
            key: call.key.clone(),
            version: call.version.clone(),
            status: answer.status,
            body: answer.body.clone(),
            replayed: answer.original.is_some(),
            fault: answer.fault,
            notes,
        });
    }
}

impl Answer {
    fn new(request_id: &str, status: u16, body: String, fault: Option<&'static str>) -> Self {
        let request_id = request_id.to_owned();
        Self { status, body, request_id, original: None, should_retry: None, manner: Manner::AtOnce, fault }
    }

    fn refused(request_id: &str, problem: &Problem, fault: Option<&'static str>) -> Self {
        Self::new(request_id, problem.status, problem.body(request_id).to_string(), fault)
    }
}

/// The key of a header, be it Bearer or Basic.
fn shown_key(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(value.trim().to_owned()),
        "basic" => {
            let decoded = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
            decoded.split(':').next().map(ToOwned::to_owned)
        }
        _other => None,
    }
}
