//! Limits of settings, each said once: what is checked is what the reference says.

use std::{collections::BTreeMap, fs};

use super::{mistake::Mistake, secret};

/// What every setting that was looked at may be, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// By `section.key`, in words that follow "must be".
    pub(super) limits: BTreeMap<&'static str, String>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Checks {
    /// A number, from and to.
    pub(super) fn within(&mut self, setting: &'static str, value: impl Into<i128>, least: i128, most: impl Into<i128>) {
        let most = most.into();
        self.number(setting, value.into(), least, most, format!("{least} to {most}"));
    }

    /// A number up to what another setting says.
    pub(super) fn within_another(&mut self, setting: &'static str, value: u64, least: i128, most: u64, words: &str) {
        self.number(setting, value.into(), least, most.into(), format!("{least} to {words}"));
    }

    /// A number that may be as large as numbers are.
    pub(super) fn at_least(&mut self, setting: &'static str, value: i64, least: i128) {
        self.number(setting, value.into(), least, i128::MAX, format!("{least} or more"));
    }

    fn number(&mut self, setting: &'static str, value: i128, least: i128, most: i128, limits: String) {
        // Of the most that follows from another setting, the number is said too.
        let told = if most == i128::MAX { limits.clone() } else { format!("{least} to {most}") };
        let fits = if (least..=most).contains(&value) { Ok(()) } else { Err(format!("must be {told}, not {value}")) };
        self.must(setting, &limits, fits);
    }

    /// A word.
    pub(super) fn one_of(&mut self, setting: &'static str, value: &str, known: &[&str]) {
        let words = known.join(", ");
        let fits = if known.contains(&value) { Ok(()) } else { Err(format!("must be one of {words}, not {value:?}")) };
        self.must(setting, &words, fits);
    }

    /// A file, unless it is empty: one that is not there does not come by waiting.
    pub(super) fn file(&mut self, setting: &'static str, path: &str) {
        let shown = secret::shown(setting, path);
        let fits = match fs::metadata(path) {
            _ if path.is_empty() => Ok(()),
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err(format!("{shown} is no file")),
            Err(_) if shown == secret::HIDDEN => {
                Err("must be the name of a file, and there is none of this name; it is not shown, \
                 for it may be the secret itself"
                    .to_owned())
            }
            Err(error) => Err(format!("cannot find the file {shown}: {error}")),
        };
        self.must(setting, "a file, or empty", fits);
    }

    /// Anything else.
    pub(super) fn must(&mut self, setting: &'static str, limits: &str, fits: Result<(), String>) {
        self.limits.insert(setting, limits.to_owned());
        if let Err(reason) = fits {
            self.mistakes.push(Mistake::Limit { setting: setting.to_owned(), reason });
        }
    }
}
