//! How the winner of a round is drawn: so that nobody can choose him, and anybody can check that nobody did.
//!
//! | when | what is fixed | so that |
//! |---|---|---|
//! | it is opened | the SHA-256 of a seed | whoever runs it cannot choose the seed later |
//! | its tickets are listed | the SHA-256 of the list, and which value of a public beacon is to come | nobody can choose tickets, or the value, by what it would draw |
//! | the beacon has published that value | the seed, the value, the ticket | anybody computes the same ticket |
//!
//! Why it is so: services/rounds/README.md#the-draw

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use domain::{HoldKey, Rejection, RoundId, Timestamp};
use drand_verify::{G2PubkeyRfc, Pubkey};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

/// 32 bytes: a SHA-256, a seed, or a beacon's value. Its text is hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes32([u8; 32]);

impl Bytes32 {
    /// The SHA-256 of these, one after the other.
    #[must_use]
    pub fn hash(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        parts.iter().for_each(|part| context.update(part));
        Self::of(context.finish().as_ref()).unwrap_or(Self([0; 32]))
    }

    /// These bytes, if there are 32.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(&from_hex(text)?)
    }

    /// What proves later that a seed was chosen by now.
    #[must_use]
    pub fn commitment(&self) -> Self {
        Self::hash(&[self.bytes()])
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// From a message field.
    ///
    /// # Errors
    /// It is not the text of any.
    pub fn from_wire(field: &str, text: &str) -> Result<Self, Rejection> {
        let reason = || format!("{field} must be 64 hexadecimal digits, not {text:?}");
        Self::parse(text).ok_or_else(|| Rejection::new("UNDECODABLE", reason()))
    }
}

impl fmt::Display for Bytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Bytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Bytes32> for String {
    fn from(bytes: Bytes32) -> Self {
        bytes.to_string()
    }
}

impl TryFrom<String> for Bytes32 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not 64 hexadecimal digits"))
    }
}

/// Reads hexadecimal digits.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// As hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The public key of drand's chain `quicknet`, by which anybody checks what it signs: each value is the SHA-256 of a signature of its number alone.
const QUICKNET_KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c\
                            8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb\
                            5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

/// Who publishes a value every few seconds that nobody knows before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Beacon {
    /// The network drand, in which parties all over the world make each value together: its chain `quicknet`.
    DrandQuicknet,
    /// For tests and demonstrations: anybody can foretell its values.
    Sandbox,
}

impl Beacon {
    /// Its name in settings, events and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DrandQuicknet => "drand-quicknet",
            Self::Sandbox => "sandbox",
        }
    }

    /// Reads the name back.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn parse(name: &str) -> Result<Self, Rejection> {
        let known = [Self::DrandQuicknet, Self::Sandbox].into_iter().find(|beacon| beacon.as_str() == name);
        known.ok_or_else(|| Rejection::new("UNDECODABLE", format!("no beacon {name:?} is known here")))
    }

    /// How long it is from one value to the next.
    const PERIOD: Duration = Duration::from_secs(3);

    /// When its value 1 was published.
    const fn begun_at(self) -> Timestamp {
        match self {
            Self::DrandQuicknet => Timestamp::from_micros(1_692_803_367_000_000),
            Self::Sandbox => Timestamp::from_micros(1_600_000_000_000_000),
        }
    }

    /// The first value that it publishes then or later.
    #[must_use]
    pub fn round_at(self, at: Timestamp) -> i64 {
        let passed = at.since(self.begun_at()).as_micros();
        i64::try_from(passed.div_ceil(Self::PERIOD.as_micros())).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// When it publishes this value.
    #[must_use]
    pub fn published_at(self, round: i64) -> Timestamp {
        let before = u32::try_from(round.saturating_sub(1)).unwrap_or(u32::MAX);
        self.begun_at() + Self::PERIOD * before
    }

    /// Where to ask for a value of drand, below the address of whoever passes them on.
    #[must_use]
    pub(crate) fn path(round: i64) -> String {
        format!("/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971/public/{round}")
    }

    /// Where anybody may ask for a value.
    #[must_use]
    pub fn address(self, round: i64) -> String {
        match self {
            Self::DrandQuicknet => format!("https://api.drand.sh{}", Self::path(round)),
            Self::Sandbox => format!("SHA-256 of \"holdfast sandbox beacon {round}\""),
        }
    }

    /// Whether a signature, as hexadecimal digits, is its own, for this value. One without signatures has nothing that could be checked.
    #[must_use]
    pub fn has_signed(self, round: i64, signature: &str) -> bool {
        let (Self::DrandQuicknet, Ok(round), Some(signature)) = (self, u64::try_from(round), from_hex(signature))
        else {
            return self == Self::Sandbox;
        };
        let key = from_hex(QUICKNET_KEY).and_then(|key| key.try_into().ok()).map(G2PubkeyRfc::from_fixed);
        key.and_then(Result::ok).is_some_and(|key| key.verify(round, b"", &signature).unwrap_or(false))
    }

    /// What the sandbox publishes.
    #[must_use]
    pub fn sandbox_value(round: i64) -> Bytes32 {
        Bytes32::hash(&[format!("holdfast sandbox beacon {round}").as_bytes()])
    }
}

impl From<Beacon> for String {
    fn from(beacon: Beacon) -> Self {
        beacon.as_str().to_owned()
    }
}

impl TryFrom<String> for Beacon {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).map_err(|rejection| rejection.to_string())
    }
}

/// What is fixed before the first share is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// SHA-256 of the seed.
    pub commitment: Bytes32,
    /// Whose value is mixed in.
    pub beacon: Beacon,
    /// At least so many milliseconds lie between the list of tickets and the beacon's value.
    pub delay_ms: i64,
}

/// What is fixed when the tickets are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Tickets, one for each share, numbered from 1.
    pub tickets: i64,
    /// SHA-256 of the list.
    pub digest: Bytes32,
    /// Which value of the beacon.
    pub beacon_round: i64,
    /// When that is published.
    pub draws_at: Timestamp,
}

/// The end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// What it was drawn by.
    #[serde(flatten)]
    pub proof: Proof,
    /// The ticket that won.
    pub ticket: i64,
    /// Who has it.
    pub order: HoldKey,
}

/// What a ticket is drawn by, besides the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What the commitment is the SHA-256 of.
    pub seed: Bytes32,
    /// The beacon's value.
    pub beacon_value: Bytes32,
    /// Hexadecimal: the beacon's signature, of which its value is the SHA-256. Empty: it has none.
    pub beacon_signature: String,
}

/// How far the draw of a round has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// From the beginning.
    pub terms: Terms,
    /// Since its tickets are listed.
    pub listed: Option<Listed>,
    /// Since it has a winner.
    pub drawn: Option<Drawn>,
}

impl Draw {
    /// One that is to come.
    #[must_use]
    pub const fn new(terms: Terms) -> Self {
        Self { terms, listed: None, drawn: None }
    }
}

impl Terms {
    /// What is fixed with a list of tickets that is closed now.
    #[must_use]
    pub fn list(&self, tickets: &Tickets, at: Timestamp) -> Listed {
        let delay = Duration::from_millis(u64::try_from(self.delay_ms).unwrap_or_default());
        let beacon_round = self.beacon.round_at(at + delay);
        let draws_at = self.beacon.published_at(beacon_round);
        Listed { tickets: tickets.count(), digest: tickets.digest(), beacon_round, draws_at }
    }
}

/// The seed of a round, of whoever has the secret.
#[must_use]
pub fn seed(secret: &str, round_id: RoundId) -> Bytes32 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("holdfast draw {round_id}").as_bytes());
    Bytes32::of(tag.as_ref()).unwrap_or(Bytes32([0; 32]))
}

/// The ticket that wins: 1 more than the SHA-256 of seed, value and digest, as a number, leaves over when it is divided by how many there are.
#[must_use]
pub fn winning_ticket(proof: &Proof, digest: &Bytes32, tickets: i64) -> i64 {
    let hash = Bytes32::hash(&[proof.seed.bytes(), proof.beacon_value.bytes(), digest.bytes()]);
    let left = |left: i64, byte: &u8| (left * 256 + i64::from(*byte)).checked_rem(tickets).unwrap_or_default();
    1 + hash.bytes().iter().fold(0, left)
}

/// The tickets of a round, numbered in the order of their codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tickets(Vec<Entry>);

/// The tickets of one order: from its first number on, as many as it has bought shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the list has in its place: whoever knows the order's id computes it, and nobody the id from it.
    pub code: String,
    /// Its first number.
    pub first: i64,
    /// How many.
    pub count: i64,
    /// The order.
    pub order: HoldKey,
}

/// What the list has in the place of an order: half of a SHA-256, as hexadecimal digits.
#[must_use]
pub fn ticket_code(round_id: RoundId, order: HoldKey) -> String {
    let text = format!("holdfast ticket {round_id} {order}");
    Bytes32::hash(&[text.as_bytes()]).to_string().chars().take(32).collect()
}

impl Tickets {
    /// The tickets of orders that have bought so many shares.
    #[must_use]
    pub fn of(round_id: RoundId, bought: impl IntoIterator<Item = (HoldKey, i64)>) -> Self {
        let entry = |(order, count)| Entry { code: ticket_code(round_id, order), first: 0, count, order };
        let mut entries: Vec<Entry> = bought.into_iter().map(entry).collect();
        entries.sort_by(|one, other| one.code.cmp(&other.code));
        let mut next = 1;
        for entry in &mut entries {
            entry.first = next;
            next += entry.count;
        }
        Self(entries)
    }

    /// All of them.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// How many tickets there are.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.0.iter().map(|entry| entry.count).sum()
    }

    /// The list as everybody may have it: a line for each order, with its first number, how many, and its code.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|Entry { code, first, count, .. }| format!("{first} {count} {code}\n")).collect()
    }

    /// SHA-256 of the list.
    #[must_use]
    pub fn digest(&self) -> Bytes32 {
        Bytes32::hash(&[self.text().as_bytes()])
    }

    /// Who has the ticket of this number.
    #[must_use]
    pub fn holder(&self, ticket: i64) -> Option<HoldKey> {
        let after = self.0.partition_point(|entry| entry.first <= ticket);
        let entry = self.0.get(after.checked_sub(1)?)?;
        (ticket < entry.first + entry.count).then_some(entry.order)
    }
}
