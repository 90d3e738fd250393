//! Files with secrets. Each may change while the process runs, and whoever uses one has what it says by then.

use std::{
    fmt, fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often a file is looked at, at most.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The largest file that is read.
const BYTES_MAX: usize = 4_194_304;

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

/// What a file with a secret says. What of it cannot be taken changes nothing, and the log tells of it.
pub struct SecretFile<T> {
    setting: &'static str,
    path: String,
    parse: Parse<T>,
    taken: Mutex<Taken<T>>,
}

struct Taken<T> {
    text: String,
    value: Arc<T>,
    looked: Instant,
    /// Why what the file says now is not taken.
    refused: Option<String>,
}

impl<T> fmt::Debug for SecretFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").field("setting", &self.setting).field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> SecretFile<T> {
    /// Reads the file that a setting names.
    ///
    /// # Errors
    /// It cannot be read, or what it says cannot be taken, in words that have no part of it.
    pub fn read(
        setting: &'static str,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let text = text(path)?;
        let taken = Taken { value: Arc::new(parse(&text)?), text, looked: Instant::now(), refused: None };
        Ok(Self { setting, path: path.to_owned(), parse: Box::new(parse), taken: Mutex::new(taken) })
    }

    /// What it said a second ago, or later.
    pub fn current(&self) -> Arc<T> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.looked.elapsed() >= LOOK_EVERY {
            taken.looked = Instant::now();
            self.look(&mut taken);
        }
        Arc::clone(&taken.value)
    }

    fn look(&self, taken: &mut Taken<T>) {
        let (setting, path) = (self.setting, self.path.as_str());
        let changed = text(path).and_then(|text| match text == taken.text {
            true => Ok(None),
            false => (self.parse)(&text).map(|value| Some((text, value))),
        });
        match changed {
            Ok(None) => taken.refused = None,
            Ok(Some((text, value))) => {
                (taken.text, taken.value, taken.refused) = (text, Arc::new(value), None);
                tracing::info!(setting, path, "a file has changed, and what it says is taken");
            }
            Err(reason) if taken.refused.as_ref() == Some(&reason) => {}
            Err(reason) => {
                tracing::error!(setting, reason, "what a file says now is not taken; what it said before stays good");
                taken.refused = Some(reason);
            }
        }
    }
}

/// What a file says now.
///
/// # Errors
/// It cannot be read.
pub(crate) fn text(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    if text.len() > BYTES_MAX {
        return Err(format!("{path} has {} bytes; {BYTES_MAX} is the most", text.len()));
    }
    Ok(text)
}

/// A file's text as a password: without the end of its line.
///
/// # Errors
/// There is nothing before it.
pub fn password(text: &str) -> Result<String, String> {
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file of the password is empty".to_owned()),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::{LOOK_EVERY, SecretFile, password};

    #[test]
    fn what_a_file_says_is_taken_when_it_changes_and_what_cannot_be_taken_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let say = |text: &str| fs::write(path, text).unwrap();
        say("first\n");
        let secret = SecretFile::read("mail.password", path, password).unwrap();
        let a_second_later = || {
            secret.taken.lock().unwrap().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
            secret.current()
        };
        assert_eq!(*secret.current(), "first");
        say("second\r\n");
        assert_eq!(*a_second_later(), "second");
        say("\n");
        assert_eq!(*a_second_later(), "second");
        fs::remove_file(path).unwrap();
        assert_eq!(*a_second_later(), "second");
        assert!(secret.taken.lock().unwrap().refused.as_ref().unwrap().contains(path));
        say("third");
        assert_eq!(*a_second_later(), "third");
        assert_eq!(secret.taken.lock().unwrap().refused, None);
        assert!(!format!("{secret:?}").contains("third"));
    }

    #[test]
    fn a_file_that_is_not_there_or_says_nothing_is_refused_at_the_beginning() {
        assert!(
            SecretFile::read("mail.password", "/nowhere/password", password).unwrap_err().contains("/nowhere/password")
        );
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(
            SecretFile::read("mail.password", empty.path().to_str().unwrap(), password).unwrap_err().contains("empty")
        );
    }
}
