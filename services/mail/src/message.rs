//! A mail as bytes. Of the same order, event, address and words they are always the same: nothing in them is drawn by chance or read off a
//! clock, so a copy can be told for one.

use domain::Timestamp;
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, MultiPartBuilder, MultiPartKind, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{about::About, templates::Words};

/// Who mail is from.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    /// As buyers see it.
    pub(crate) from: Mailbox,
    /// Who gets their answers.
    pub(crate) reply_to: Option<Mailbox>,
    /// Who is told by other servers of what cannot be delivered.
    pub(crate) bounces: Address,
}

impl Sender {
    /// Reads the settings. What is empty is the address of `from`.
    pub(crate) fn read(from: &str, reply_to: &str, bounces: &str) -> Result<Self, String> {
        let mailbox = |setting: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("setting mail.{setting}: {text:?} is no address: {error}"))
        };
        let from = mailbox("from", from)?;
        let reply_to = if reply_to.is_empty() { None } else { Some(mailbox("reply_to", reply_to)?) };
        let bounces = if bounces.is_empty() { from.email.clone() } else { mailbox("bounces", bounces)?.email };
        Ok(Self { from, reply_to, bounces })
    }

    /// The domain that ids of mails end with.
    pub(crate) fn domain(&self) -> &str {
        self.from.email.domain()
    }
}

/// The mail about this, to this address.
pub(crate) fn bytes(
    sender: &Sender,
    about: &About,
    at: Timestamp,
    to: &Address,
    words: &Words,
) -> Result<Vec<u8>, String> {
    let date = OffsetDateTime::from(at).format(&Rfc2822).map_err(|error| error.to_string())?;
    let mut message = Message::builder().from(sender.from.clone());
    if let Some(reply_to) = &sender.reply_to {
        message = message.reply_to(reply_to.clone());
    }
    let message = message
        .to(Mailbox::new(None, to.clone()))
        .subject(words.subject.as_str())
        .message_id(Some(format!("<{}@{}>", about.name(), sender.domain())))
        .raw_header(header("Date", &date)?)
        // No answer of a machine, RFC 3834; Exchange knows the other word for it.
        .raw_header(header("Auto-Submitted", "auto-generated")?)
        .raw_header(header("X-Auto-Response-Suppress", "All")?)
        .multipart(
            alternative(about)
                .singlepart(part(ContentType::TEXT_PLAIN, &words.text))
                .singlepart(part(ContentType::TEXT_HTML, &words.html)),
        );
    message.map(|message| message.formatted()).map_err(|error| error.to_string())
}

/// What is read first comes first: the text, and then the page that says the same.
fn alternative(about: &About) -> MultiPartBuilder {
    MultiPart::builder().kind(MultiPartKind::Alternative).boundary(format!("holdfast-{}", about.mail_id().simple()))
}

fn part(content_type: ContentType, words: &str) -> SinglePart {
    SinglePart::builder().header(content_type).header(ContentTransferEncoding::QuotedPrintable).body(words.to_owned())
}

fn header(name: &'static str, value: &str) -> Result<HeaderValue, String> {
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|error| error.to_string())?;
    Ok(HeaderValue::new(name, value.to_owned()))
}

#[cfg(test)]
mod tests;
