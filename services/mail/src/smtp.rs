//! Handing a mail over by SMTP, phase by phase, for what counts is in which of them it failed: until the end of the text nothing is taken, and
//! after the server's answer it is the server's. In between nobody knows.
//!
//! Every mail has a connection of its own. One that was kept would be found stale at the first command of the next mail.

use std::{sync::Arc, time::Duration};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
        response::Response,
    },
};
use platform::{
    config::{self, ms},
    secret_file::{self, SecretFile},
    shutdown::Shutdown,
};
use tokio::time::timeout;

use crate::next::Outcome;

/// How long to wait for the answer to a good-bye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// How much of what a server says is kept.
const REPLY_CHARS_MAX: usize = 500;

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    Starttls,
    Implicit,
}

/// A server that mail is handed to.
#[derive(Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<Login>,
    hello: ClientId,
    begin: Duration,
    answer: Duration,
}

/// Who hands mail over.
#[derive(Clone)]
struct Login {
    user: String,
    password: Arc<SecretFile<String>>,
}

/// A password is nobody's business who reads a log.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A mail that was handed over, or was to be.
pub(crate) struct Handed {
    /// What became of it.
    pub(crate) outcome: Outcome,
    connection: Option<AsyncSmtpConnection>,
}

impl Server {
    /// Reads the settings.
    pub(crate) fn read(settings: &config::Mail, domain: &str) -> Result<Self, String> {
        let login = if settings.user.is_empty() {
            None
        } else {
            let password = SecretFile::read("mail.password", &settings.password, secret_file::password)
                .map_err(|reason| format!("setting mail.password: {reason}"))?;
            Some(Login { user: settings.user.clone(), password: Arc::new(password) })
        };
        let tls = match settings.tls.as_str() {
            "none" => Tls::None,
            "implicit" => Tls::Implicit,
            _ => Tls::Starttls,
        };
        Ok(Self {
            host: settings.server.clone(),
            port: settings.port,
            tls,
            login,
            hello: ClientId::Domain(domain.to_owned()),
            begin: ms(settings.begin_ms),
            answer: ms(settings.answer_ms),
        })
    }

    /// How long handing over one mail may take, noting what became of it included. Who is not done by then is gone.
    pub(crate) fn lease(&self) -> Duration {
        let longest = self.begin + self.answer;
        longest + longest / 20 + Duration::from_secs(1)
    }

    /// Hands a mail over. Until the end of its text it may be stopped, and then nothing has happened.
    pub(crate) async fn hand_over(&self, from: &Address, to: &Address, mail: &[u8], stop: &mut Shutdown) -> Handed {
        let begun = tokio::select! {
            begun = timeout(self.begin, self.begin(from, to)) => begun,
            () = stop.requested() => return Handed::without(Outcome::Again("this process was asked to stop".to_owned())),
        };
        let mut connection = match begun {
            Ok(Ok(connection)) => connection,
            Ok(Err(outcome)) => return Handed::without(scrubbed(outcome, to)),
            Err(_elapsed) => {
                let seconds = self.begin.as_secs_f64();
                return Handed::without(Outcome::Again(format!("it did not take the mail within {seconds} s")));
            }
        };
        let outcome = match timeout(self.answer, connection.message(mail)).await {
            Ok(Ok(answer)) => Outcome::Sent(words(&answer)),
            Ok(Err(error)) if error.is_permanent() => Outcome::Refused(said(&error)),
            Ok(Err(error)) if error.is_transient() => Outcome::Again(said(&error)),
            // The text or a part of it is on its way, and no answer came.
            Ok(Err(error)) => Outcome::Unknown(said(&error)),
            Err(_elapsed) => {
                Outcome::Unknown(format!("no answer within {} s after the text", self.answer.as_secs_f64()))
            }
        };
        Handed { outcome: scrubbed(outcome, to), connection: Some(connection) }
    }

    /// All that comes before the text. Nothing is taken until that has ended.
    async fn begin(&self, from: &Address, to: &Address) -> Result<AsyncSmtpConnection, Outcome> {
        // What a server says before it has heard of a mail is about the connection, and not about the mail: an old password would else end
        // all of them.
        let of_server = |error: Error| Outcome::Again(said(&error));
        let tls = || TlsParameters::new(self.host.clone());
        let implicit = if self.tls == Tls::Implicit { Some(tls().map_err(of_server)?) } else { None };
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(server, Some(self.begin), &self.hello, implicit, None)
            .await
            .map_err(of_server)?;
        if self.tls == Tls::Starttls {
            connection.starttls(tls().map_err(of_server)?, &self.hello).await.map_err(of_server)?;
        }
        if let Some(login) = &self.login {
            let login = Credentials::new(login.user.clone(), login.password.current().as_ref().clone());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &login).await.map_err(of_server)?;
        }
        let needs_utf8 = [from, to].into_iter().any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        if needs_utf8 && !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Outcome::Refused(
                "the server takes no address of other letters than ASCII's (SMTPUTF8)".to_owned(),
            ));
        }
        let parameters = if needs_utf8 { vec![MailParameter::SmtpUtfEight] } else { vec![] };
        connection.command(Mail::new(Some(from.clone()), parameters)).await.map_err(of_mail)?;
        connection.command(Rcpt::new(to.clone(), vec![])).await.map_err(of_mail)?;
        connection.command(Data).await.map_err(of_mail)?;
        Ok(connection)
    }
}

/// What a server says of this mail before its text has ended.
fn of_mail(error: Error) -> Outcome {
    if error.is_permanent() { Outcome::Refused(said(&error)) } else { Outcome::Again(said(&error)) }
}

impl Handed {
    const fn without(outcome: Outcome) -> Self {
        Self { outcome, connection: None }
    }

    /// Says good-bye, now that it is noted what became of the mail.
    pub(crate) async fn goodbye(self) {
        if let Some(mut connection) = self.connection {
            let _nobody_minds = timeout(GOODBYE_WITHIN, connection.quit()).await;
        }
    }
}

/// What a server has answered.
fn words(answer: &Response) -> String {
    let lines: Vec<&str> = answer.message().collect();
    format!("{} {}", answer.code(), lines.join(" "))
}

fn said(error: &Error) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = error.source();
    }
    said
}

fn scrubbed(outcome: Outcome, to: &Address) -> Outcome {
    let scrub = |words: String| scrub(&words, to.as_ref());
    match outcome {
        Outcome::Sent(words) => Outcome::Sent(scrub(words)),
        Outcome::Again(words) => Outcome::Again(scrub(words)),
        Outcome::Refused(words) => Outcome::Refused(scrub(words)),
        Outcome::Unknown(words) => Outcome::Unknown(scrub(words)),
    }
}

/// What a server has said without the address: `550 <ann@shop.example>: no such user` is kept, and shown to operators.
fn scrub(words: &str, address: &str) -> String {
    let mut scrubbed = domain::legible(words, REPLY_CHARS_MAX);
    for part in std::iter::once(address).chain(address.rsplit_once('@').map(|(local, _)| local)) {
        let part = part.to_lowercase();
        let mut rest = std::mem::take(&mut scrubbed);
        // By letters that may have another length in lower case: looked for anew each time, from the left.
        while let Some((at, length)) = find(&rest, &part) {
            let after = rest.split_off(at + length);
            rest.truncate(at);
            scrubbed.push_str(&rest);
            scrubbed.push('…');
            rest = after;
        }
        scrubbed.push_str(&rest);
    }
    scrubbed
}

/// Where a part is in words, whatever its case, as a word of its own: its place and its length.
fn find(words: &str, part: &str) -> Option<(usize, usize)> {
    let is_of_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    words.char_indices().find_map(|(at, _)| {
        let (before, rest) = words.split_at(at);
        let length = rest
            .char_indices()
            .map(|(end, letter)| end + letter.len_utf8())
            .take_while(|end| *end <= part.len() * 2)
            .find(|end| rest.get(..*end).is_some_and(|begin| begin.to_lowercase() == part))?;
        let after = rest.get(length..).and_then(|after| after.chars().next());
        (!is_of_word(before.chars().next_back()) && !is_of_word(after)).then_some((at, length))
    })
}

#[cfg(test)]
mod tests {
    use super::scrub;

    #[test]
    fn what_a_server_says_is_kept_without_the_address() {
        let said = scrub(
            "550 5.1.1 <Ann@Shop.example>: user ann is unknown at shop.example, annual report",
            "ann@shop.example",
        );
        assert_eq!(said, "550 5.1.1 <…>: user … is unknown at shop.example, annual report");
        assert_eq!(scrub("250 2.0.0 Ok: queued as 12345", "ann@shop.example"), "250 2.0.0 Ok: queued as 12345");
        assert_eq!(scrub("to ÄNN@käse.example", "änn@käse.example"), "to …");
        assert_eq!(scrub("two\r\nlines", "ann@b.example"), r"two\u{d}\u{a}lines");
    }
}
