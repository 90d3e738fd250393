//! Scripts of the sandbox: what is read says the same when it is written down again, in whatever order.

use std::time::Duration;

use providers::sandbox::script::{Hold, Page, Pay, RefundPlan, Script};

use super::{Checked, Shape, Target, ensure, headless, refused, same};
use crate::attempt::outline;

pub(super) const TARGET: Target = Target {
    name: "script",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        "sandbox:",
        "succeed",
        "decline",
        "late",
        "never",
        ",",
        "=",
        "after=",
        "refund=",
        "refund_after=",
        "checkout=",
        "hold=",
        "capture",
        "lapse",
        "link",
        "call",
        "refuse",
        "lose_response",
        "time_out",
        "fail_then_succeed",
        "fail_later",
        "ms",
        "s",
        "m",
        "10080m",
        "604800001ms",
        "\u{661}",
        "\0",
    ],
    seeds,
    check,
};

/// The longest that a script may make anybody wait.
const WEEK: Duration = Duration::from_hours(7 * 24);

fn seeds() -> Vec<Vec<u8>> {
    let scripts = ["", "sandbox:succeed", "sandbox:late,after=200ms,refund=lose_response,refund_after=3m", "card"];
    scripts.map(|script| script.as_bytes().to_vec()).to_vec()
}

fn check(input: &[u8]) -> Checked {
    let Ok(text) = std::str::from_utf8(input) else { return Ok("no text".to_owned()) };
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(rejection) => {
            // It becomes the reason of a refund that is refused, which has at most 512 characters.
            let reason = &rejection.reason;
            ensure(reason.chars().count() <= 512, || "its complaint does not fit a report".to_owned())?;
            ensure(!reason.chars().any(char::is_control), || format!("its complaint is not plain: {reason:?}"))?;
            return refused(&rejection);
        }
    };
    let again = written(&script);
    same("written down again", &format!("{:?}", Script::parse(&again)), &format!("{:?}", Ok::<_, ()>(script)))?;
    if let Some((pay, options)) = text.split_once(',') {
        let options: Vec<&str> = options.rsplit(',').collect();
        let other = format!("{pay},{}", options.join(","));
        same("the other way round", &format!("{:?}", Script::parse(&other)), &format!("{:?}", Ok::<_, ()>(script)))?;
    }
    ensure(script.after <= WEEK && script.refund_after <= WEEK, || format!("nobody waits so long: {script:?}"))?;
    let outline = outline(&again);
    Ok(format!("{outline} of {} options", text.matches(',').count()))
}

fn written(script: &Script) -> String {
    let Script { pay, after, refund, refund_after, checkout, hold } = script;
    let pay = match pay {
        Pay::Succeed => "succeed",
        Pay::Decline => "decline",
        Pay::Late => "late",
        Pay::Never => "never",
    };
    let refund = match refund {
        RefundPlan::Succeed => "succeed",
        RefundPlan::Decline => "decline",
        RefundPlan::LoseResponse => "lose_response",
        RefundPlan::TimeOut => "time_out",
        RefundPlan::FailThenSucceed => "fail_then_succeed",
        RefundPlan::FailLater => "fail_later",
    };
    let checkout = match checkout {
        Page::Link => "link",
        Page::Call => "call",
        Page::Refuse => "refuse",
    };
    let (after, refund_after) = (after.as_millis(), refund_after.as_millis());
    let hold = match hold {
        None => "",
        Some(Hold::Capture) => ",hold=capture",
        Some(Hold::Lapse) => ",hold=lapse",
    };
    format!("sandbox:{pay},after={after}ms,refund={refund},refund_after={refund_after}ms,checkout={checkout}{hold}")
}
