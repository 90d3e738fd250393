//! A pager between what is printed and a terminal, for what may be longer than its screen.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// What a shell says of a program that it cannot run, or does not find.
const NOT_RUN: [i32; 2] = [126, 127];

/// What less is told unless somebody has told it otherwise: end where one screen is enough, and show colours.
const LESS: &str = "FRX";

static PAGER: Mutex<Option<Child>> = Mutex::new(None);

/// As long as it lives, what is printed goes through the pager, if there is one. Then it waits until that was read.
#[derive(Debug)]
pub struct Paged {
    pager: Option<OsString>,
}

impl Paged {
    /// Through what `HOLDFAST_PAGER` or else `PAGER` names, if standard output is a terminal; one that is empty means none.
    #[must_use]
    pub fn begin() -> Self {
        let pager = named(|name| env::var_os(name)).filter(|_| io::stdout().is_terminal());
        let child = pager.as_ref().and_then(|pager| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(pager).stdin(Stdio::piped());
            if env::var_os("LESS").is_none() {
                command.env("LESS", LESS);
            }
            command.spawn().ok()
        });
        *PAGER.lock().unwrap_or_else(PoisonError::into_inner) = child;
        Self { pager }
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        let Some(mut child) = PAGER.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // It waits for the end of what it reads.
        drop(child.stdin.take());
        let ended = child.wait().ok().and_then(|status| status.code());
        if ended.is_some_and(|code| NOT_RUN.contains(&code)) {
            let pager = self.pager.take().unwrap_or_default();
            eprintln!(
                "holdfast: the pager {pager:?} cannot be run, so nothing was shown: HOLDFAST_PAGER= turns it off"
            );
        }
    }
}

/// The pager that somebody has named.
fn named(variable: impl Fn(&str) -> Option<OsString>) -> Option<OsString> {
    let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
    let named = variable("HOLDFAST_PAGER").or_else(|| variable("PAGER"));
    named.filter(|pager| !pager.is_empty() && !is_dumb)
}

/// Hands a text to the pager. `None`: there is none.
pub(super) fn take(text: &str) -> Option<io::Result<()>> {
    let mut pager = PAGER.lock().unwrap_or_else(PoisonError::into_inner);
    let stdin = pager.as_mut()?.stdin.as_mut()?;
    Some(stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::named;

    #[test]
    fn our_own_pager_comes_first_and_an_empty_one_is_none() {
        let named = |said: &[(&str, &str)]| {
            let value =
                |name: &str| said.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            named(value).map(|pager| pager.into_string().unwrap())
        };
        assert_eq!(named(&[]), None);
        assert_eq!(named(&[("PAGER", "less")]).as_deref(), Some("less"));
        assert_eq!(named(&[("PAGER", "less"), ("HOLDFAST_PAGER", "more -s")]).as_deref(), Some("more -s"));
        assert_eq!(named(&[("PAGER", "less"), ("HOLDFAST_PAGER", "")]), None);
        assert_eq!(named(&[("PAGER", "less"), ("TERM", "dumb")]), None);
    }
}
