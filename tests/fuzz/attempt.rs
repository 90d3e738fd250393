//! One input and how it ends: well, with a signature, or badly, with what is wrong. A panic is bad, and so is taking long.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::targets::Target;

/// The longest that any input may keep a processor busy. They have 16 KiB at most.
const TIME_MAX: Duration = Duration::from_millis(250);

thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs an input: its signature, or what is wrong.
pub(crate) fn attempt(target: &Target, input: &[u8]) -> Result<String, String> {
    let (ended, lasted) = timed(target, input);
    if ended.is_ok() && lasted > TIME_MAX {
        return Err(format!("it takes {} ms", lasted.as_millis()));
    }
    ended
}

fn timed(target: &Target, input: &[u8]) -> (Result<String, String>, Duration) {
    listen();
    let begun = busy();
    LISTENS.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    LISTENS.set(false);
    let lasted = busy().saturating_sub(begun);
    // What the code under test has caught itself is a panic all the same.
    let ended = match (PANIC.take(), ended) {
        (Some(panic), _) => Err(format!("it panics: {panic}")),
        (None, Ok(checked)) => checked,
        (None, Err(_panic)) => Err("it panics".to_owned()),
    };
    (ended, lasted)
}

/// How long this thread has kept a processor busy. On a machine that is busy with others' work, anything may take long by the clock.
fn busy() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Forgets a panic: of a library that is known for it, and is run to find out when.
pub(crate) fn forget_panic() {
    PANIC.take();
}

/// Keeps panics of attempts for their report instead of printing thousands of them.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if LISTENS.get() {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                let words = panic.payload_as_str().unwrap_or("no words");
                PANIC.replace(Some(format!("{words} at {place}")));
            } else {
                before(panic);
            }
        }));
    });
}

/// A text without what differs from input to input: numbers, and what it quotes.
pub(crate) fn outline(text: &str) -> String {
    let mut quote = None;
    let mut outline = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(end) if letter == end => quote = None,
            Some(_) => {
                // What it escapes does not end it.
                if letter == '\\' {
                    letters.next();
                }
                continue;
            }
            None if matches!(letter, '"' | '`' | '\'') => quote = Some(letter),
            None if letter == '«' => quote = Some('»'),
            None if letter.is_ascii_digit() || letter.is_control() => continue,
            None => {}
        }
        outline.push(letter);
        if outline.len() >= 160 {
            break;
        }
    }
    outline
}

/// A number as a part of a signature: about how many.
pub(crate) fn about(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}
