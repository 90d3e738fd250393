//! Asking the beacon, and telling the seed: the one outside call of rounds.

use std::time::Duration;

use domain::{Effect, RoundId, Timestamp, unknown_type};
use platform::{config, error::Error, secret_file::SecretFile, web::Web};
use runtime::service::{EffectOutcome, LeasedEffect};
use serde::Deserialize;

use crate::{
    command::Command,
    draw::{Beacon, Bytes32, Listed, Proof, Terms, from_hex, hex, seed},
    event::Event,
    wire,
};

/// Whom the call is made to.
pub(crate) const CALLEES: [&str; 1] = ["beacon"];

/// The fewest characters of a secret.
const CHARS_MIN: usize = 32;

/// The most bytes of a beacon's answer, which has a few hundred.
const ANSWER_BYTES_MAX: usize = 16_384;

/// How long a value may take to come once it is published, and then some: later than this, somebody should look.
const LATE_AFTER: Duration = Duration::from_hours(1);

/// How long until it is looked again whether an operator has mended the settings.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What draws winners, by its settings.
#[derive(Debug)]
pub struct Draws {
    secrets: SecretFile<Vec<String>>,
    beacon: Beacon,
    url: String,
    delay_ms: i64,
    web: Web,
}

impl Draws {
    /// By these settings. `None`: they say that no winners are drawn.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn set_up(settings: &config::Rounds, call_time_max: Duration) -> Result<Option<Self>, Error> {
        if settings.draw_secrets.is_empty() {
            return Ok(None);
        }
        let refuse = |reason: String| Error::Permanent { what: "reading the settings of draws", source: reason.into() };
        let secrets = SecretFile::read("rounds.draw_secrets", &settings.draw_secrets, secrets).map_err(refuse)?;
        Ok(Some(Self {
            secrets,
            beacon: Beacon::parse(&settings.draw_beacon).map_err(|rejection| refuse(rejection.to_string()))?,
            url: settings.draw_beacon_url.trim_end_matches('/').to_owned(),
            delay_ms: i64::try_from(settings.draw_delay_ms).unwrap_or(i64::MAX),
            web: Web::new(call_time_max / 2, ANSWER_BYTES_MAX).map_err(refuse)?,
        }))
    }

    /// What is fixed of the draw of a round that is opened now.
    pub(crate) fn terms(&self, round_id: RoundId) -> Option<Terms> {
        let secrets = self.secrets.current();
        let commitment = seed(secrets.first()?, round_id).commitment();
        Some(Terms { commitment, beacon: self.beacon, delay_ms: self.delay_ms })
    }

    /// The seed of a round that was opened with this commitment.
    fn seed(&self, round_id: RoundId, commitment: Bytes32) -> Option<Bytes32> {
        let secrets = self.secrets.current();
        secrets.iter().map(|secret| seed(secret, round_id)).find(|seed| seed.commitment() == commitment)
    }

    /// What it takes to draw, once the beacon has published its value.
    async fn proof(&self, due: &Due) -> EffectOutcome<Command> {
        let Due { round_id, listed, terms } = due;
        let Some(seed) = self.seed(*round_id, terms.commitment) else {
            return stopped(
                "no secret of rounds.draw_secrets is the one that this round was opened with: add it as one more line",
            );
        };
        match self.value(terms.beacon, listed.beacon_round).await {
            Ok((beacon_value, beacon_signature)) => {
                let proof = Proof { seed, beacon_value, beacon_signature };
                EffectOutcome::Done(Command::Draw { round_id: *round_id, proof })
            }
            Err(error) => EffectOutcome::Retry { error, in_flight: false },
        }
    }

    /// A value of a beacon, with its signature.
    async fn value(&self, beacon: Beacon, round: i64) -> Result<(Bytes32, String), String> {
        let url = match beacon {
            Beacon::Sandbox => return Ok((Beacon::sandbox_value(round), String::new())),
            Beacon::DrandQuicknet => format!("{}{}", self.url, Beacon::path(round)),
        };
        read(&self.web.get(&url).await?, round).map_err(|reason| format!("{url}: {reason}"))
    }
}

/// What a beacon answers.
#[derive(Debug, Deserialize)]
struct Answer {
    round: i64,
    randomness: String,
    signature: String,
}

/// The value that an answer tells, and its signature.
///
/// # Errors
/// It is another value, or not the SHA-256 of its signature.
fn read(answer: &[u8], round: i64) -> Result<(Bytes32, String), String> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if answer.round != round {
        return Err(format!("it is value {} and not {round}", answer.round));
    }
    let value = Bytes32::try_from(answer.randomness)?;
    let signature = from_hex(&answer.signature).ok_or("its signature is not hexadecimal")?;
    if Bytes32::hash(&[&signature]) != value {
        return Err("the value is not the SHA-256 of its signature".to_owned());
    }
    let signature = hex(&signature);
    // Whoever passes values on is not believed.
    if !Beacon::DrandQuicknet.has_signed(round, &signature) {
        return Err("the signature is not the beacon's own for this value".to_owned());
    }
    Ok((value, signature))
}

/// The secrets of a file, one a line.
fn secrets(text: &str) -> Result<Vec<String>, String> {
    let secrets: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if let Some(short) = secrets.iter().position(|secret| secret.chars().count() < CHARS_MIN) {
        return Err(format!("secret {} has fewer than {CHARS_MIN} characters: openssl rand -hex 32", short + 1));
    }
    if secrets.is_empty() { Err("there is no secret in it: openssl rand -hex 32".to_owned()) } else { Ok(secrets) }
}

/// A draw whose tickets are listed.
struct Due {
    round_id: RoundId,
    listed: Listed,
    terms: Terms,
}

/// The call that an event asks for: the event says all that is needed.
pub(crate) fn of(event: &Event) -> Option<Effect> {
    let Event::RoundTicketsListed { round_id, listed, .. } = event else { return None };
    let (message_type, data) = wire::encode(event);
    let [callee] = CALLEES;
    Some(Effect { key: format!("draw-{round_id}"), message_type, data, deadline: listed.draws_at + LATE_AFTER, callee })
}

/// Makes the call.
pub(crate) async fn perform(draws: Option<&Draws>, leased: LeasedEffect) -> EffectOutcome<Command> {
    let due = match wire::decode_event(&leased.message_type, &leased.data) {
        Ok(Event::RoundTicketsListed { round_id, listed, terms }) => Due { round_id, listed, terms },
        Ok(_) => return EffectOutcome::Unreadable(unknown_type("rounds' beacon", &leased.message_type)),
        Err(rejection) => return EffectOutcome::Unreadable(rejection),
    };
    if let Some(after) = left(leased.now, due.listed.draws_at) {
        let error = format!("the beacon publishes its value at {}", due.listed.draws_at);
        return EffectOutcome::Wait { after, error, in_flight: false };
    }
    match draws {
        Some(draws) => draws.proof(&due).await,
        None => stopped(
            "rounds.draw_secrets is empty, and a round that was opened with a draw is to be drawn: name the file again",
        ),
    }
}

/// How long it is until then, if it is yet to come.
fn left(now: Timestamp, until: Timestamp) -> Option<Duration> {
    let left = until.since(now);
    (!left.is_zero()).then_some(left)
}

fn stopped(error: &str) -> EffectOutcome<Command> {
    EffectOutcome::Stopped {
        by: "rounds.draw_secrets",
        after: LOOK_AGAIN_AFTER,
        error: error.to_owned(),
        in_flight: false,
    }
}

#[cfg(test)]
mod tests;
