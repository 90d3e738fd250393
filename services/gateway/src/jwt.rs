//! JSON Web Tokens: callers of an identity provider, believed by the keys that it publishes.
//!
//! A key has one algorithm, and a token that names another is refused before anything is verified. So `none` is nothing, and a public key
//! is no secret to sign by. Signatures are verified by ring, as those of TLS are.

mod keys;
mod source;

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use domain::Timestamp;
use platform::{clock, config, error::Error};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Gateway,
    caller::{Caller, Proof, Scope, scopes_of},
};
use keys::{Keys, decoded};
use source::Source;

/// How often to look whether the file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How soon a page is asked again for a key that is not known.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How often a page is asked of its own accord: what it has no more is good no more.
const ASK_EVERY: Duration = Duration::from_mins(15);

/// Clocks of others may be wrong by so many seconds.
const TOLERANCE_S: i64 = 30;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16_384;

/// Who is believed, and by which keys.
#[derive(Debug)]
pub(crate) struct Jwt {
    issuer: String,
    audience: String,
    source: Source,
    known: RwLock<(String, Keys)>,
    asked: Mutex<Option<Instant>>,
}

/// The head of a token. What it says beyond that is of no concern, but for what must be understood.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// What a token says. A claim of another type than it must have is no claim that is left out.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Words,
    exp: i64,
    #[serde(default, deserialize_with = "there")]
    nbf: Option<i64>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    scp: Words,
}

/// One word or several; words of scopes may stand in one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Several(Vec<String>),
}

impl Default for Words {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Words {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// A claim that is there is a number; null is none.
fn there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

impl Jwt {
    /// Reads the settings and, of a file, its keys. `None`: no such token is taken. A page is asked later: it may be away for a while.
    ///
    /// # Errors
    /// The file cannot be read, or is no set of keys.
    pub(crate) async fn read(settings: &config::Gateway) -> Result<Option<Self>, Error> {
        if settings.jwks.is_empty() {
            return Ok(None);
        }
        let refuse = |reason: String| Error::Permanent {
            what: "reading the keys of tokens (setting gateway.jwks)",
            source: reason.into(),
        };
        let source = Source::of(&settings.jwks).map_err(refuse)?;
        let (issuer, audience) = (settings.jwt_issuer.clone(), settings.jwt_audience.clone());
        let jwt = Self { issuer, audience, source, known: RwLock::default(), asked: Mutex::default() };
        match (jwt.refresh().await, &jwt.source) {
            (Ok(_), _) => {}
            (Err(reason), Source::File(_)) => return Err(refuse(reason)),
            (Err(reason), Source::Page { .. }) => {
                tracing::error!(reason, "the keys of tokens cannot be read; nobody is believed by one before they can");
            }
        }
        Ok(Some(jwt))
    }

    /// Takes over what the source says now. What cannot be read changes nothing.
    async fn refresh(&self) -> Result<bool, String> {
        let text = self.source.text().await?;
        if self.known.read().unwrap_or_else(PoisonError::into_inner).0 == text {
            return Ok(false);
        }
        let keys = keys::read(&text)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = (text, keys);
        Ok(true)
    }

    /// Asks the page for its keys if a token names one that is not known, and nobody has asked within the last minute.
    pub(crate) async fn learn(&self, token: &str) {
        let is_known = || {
            let kid = head(token).and_then(|head| head.kid);
            kid.is_none_or(|kid| self.known.read().unwrap_or_else(PoisonError::into_inner).1.contains_key(&kid))
        };
        if matches!(self.source, Source::File(_)) || is_known() {
            return;
        }
        let mut asked = self.asked.lock().await;
        if is_known() || asked.is_some_and(|at| at.elapsed() < ASK_AGAIN_AFTER) {
            return;
        }
        *asked = Some(Instant::now());
        self.say(self.refresh().await, &mut String::new());
    }

    /// Says what came of looking, once for each reason.
    fn say(&self, looked: Result<bool, String>, said: &mut String) {
        match looked {
            Ok(false) => said.clear(),
            Ok(true) => {
                said.clear();
                tracing::info!("the keys of tokens have changed");
            }
            Err(reason) if reason == *said => {}
            Err(reason) => {
                tracing::error!(reason, "the keys of tokens cannot be read; those that were known stay good");
                *said = reason;
            }
        }
    }

    /// Who it is that proves himself by this token.
    ///
    /// # Errors
    /// Why he is not believed.
    pub(crate) fn caller(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, &'static str> {
        const NOT_ONE: &str = "the token is no JSON Web Token that this gateway takes";
        let head = head(token).filter(|head| head.crit.is_none()).ok_or(NOT_ONE)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(NOT_ONE)?;
        let signature = decoded(signature).ok_or(NOT_ONE)?;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let key = head.kid.as_ref().and_then(|kid| known.1.get(kid)).ok_or("the token's key is not known")?;
            if key.algorithm != head.alg {
                return Err("the token is signed by another algorithm than its key is for");
            }
            if !key.has_signed(signed.as_bytes(), &signature) {
                return Err("the token is not signed by its key");
            }
        }
        let claims = signed.split_once('.').and_then(|(_, claims)| decoded(claims));
        let claims: Claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).ok_or(NOT_ONE)?;
        self.check(&claims, now)?;
        let name = domain::text("sub", &claims.sub, 1, 100).map_err(|_rejection| "the token's sub is no name")?;
        Ok(Arc::new(Caller { name, scopes: scopes(&claims), proof: Proof::Jwt }))
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), &'static str> {
        let now = now.as_micros() / 1_000_000;
        if claims.exp.saturating_add(TOLERANCE_S) <= now {
            return Err("the token has expired");
        }
        if claims.nbf.is_some_and(|nbf| nbf.saturating_sub(TOLERANCE_S) > now) {
            return Err("the token is not good yet");
        }
        if claims.iss != self.issuer {
            return Err("the token is by another issuer");
        }
        if !claims.aud.texts().contains(&self.audience) {
            return Err("the token is for another audience");
        }
        Ok(())
    }
}

/// Scopes that are not ours are those of others.
fn scopes(claims: &Claims) -> BTreeSet<Scope> {
    let texts = std::iter::once(&claims.scope).chain(claims.scp.texts());
    texts.flat_map(|text| text.split_whitespace()).flat_map(scopes_of).collect()
}

/// Whether a text has the form of such a token, and its head.
fn head(token: &str) -> Option<Head> {
    let mut parts = token.split('.');
    let (head, rest) = (parts.next()?, parts.count());
    if rest != 2 || token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&decoded(head)?).ok()
}

/// Reads the file again when it changes, and the page now and then.
pub(crate) async fn read_again(gateway: Arc<Gateway>) {
    let Some(jwt) = &gateway.jwt else { return };
    let mut said = String::new();
    loop {
        clock::sleep(match jwt.source {
            Source::File(_) => LOOK_EVERY,
            Source::Page { .. } => ASK_EVERY,
        })
        .await;
        jwt.say(jwt.refresh().await, &mut said);
    }
}

#[cfg(test)]
mod tests;
