//! Who may: the file of tokens, and who each of them is.
//!
//! The file has no token, only the SHA-256 of each: whoever reads it can prove nothing by it. A token has to be random, of 256 bits, so
//! that its hash cannot be turned round by guessing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use domain::text;
use platform::{error::Error, secret_file::SecretFile};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    caller::{Caller, Proof, Scope, scopes_of, words},
    hex,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    caller: String,
    sha256: String,
    /// Scopes and roles.
    scopes: BTreeSet<String>,
}

type Callers = HashMap<[u8; 32], Arc<Caller>>;

/// The tokens that are good now. `None`: there is no file of them.
#[derive(Debug)]
pub(crate) struct Tokens(Option<SecretFile<Callers>>);

impl Tokens {
    /// Reads the file; of no file, nobody may do anything.
    ///
    /// # Errors
    /// It cannot be read, or says what cannot be.
    pub(crate) fn read(path: &str) -> Result<Self, Error> {
        if path.is_empty() {
            tracing::warn!("no file of tokens (setting gateway.tokens), so nobody is known by one");
            return Ok(Self(None));
        }
        let file = SecretFile::read("gateway.tokens", path, parse).map_err(|reason| Error::Permanent {
            what: "reading the file of tokens (setting gateway.tokens)",
            source: reason.into(),
        })?;
        Ok(Self(Some(file)))
    }

    /// Whose token it is.
    pub(crate) fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.0.as_ref()?.current().get(&hash).cloned()
    }
}

fn parse(text: &str) -> Result<Callers, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut callers = Callers::new();
    for token in file.token {
        let caller = name(&token.caller)?;
        let hash =
            hex::hash(&token.sha256).ok_or_else(|| format!("the sha256 of {caller:?} is not 64 hexadecimal digits"))?;
        if hash == <[u8; 32]>::from(Sha256::digest(b"")) {
            return Err(format!("the token of {caller:?} is empty"));
        }
        let scopes = scopes(&caller, &token.scopes)?;
        let known = callers.insert(hash, Arc::new(Caller { name: caller.clone(), scopes, proof: Proof::Token }));
        if let Some(known) = known {
            return Err(format!("{caller:?} and {:?} have the same token", known.name));
        }
    }
    Ok(callers)
}

/// What all of its words are good for.
fn scopes(caller: &str, given: &BTreeSet<String>) -> Result<BTreeSet<Scope>, String> {
    if let Some(word) = given.iter().find(|word| scopes_of(word).next().is_none()) {
        let known: Vec<&str> = words().collect();
        return Err(format!("{caller:?} has the scope {word:?}, which is none of {}", known.join(", ")));
    }
    Ok(given.iter().flat_map(|word| scopes_of(word)).collect())
}

/// What an actor is called in events, with room for how he proved himself.
fn name(caller: &str) -> Result<String, String> {
    text("caller", caller, 1, 100).map_err(|rejection| rejection.reason)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::parse;
    use crate::caller::{Scope, scopes_of, words};

    fn entry(caller: &str, token: &str, scopes: &str) -> String {
        let hash: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[token]]\ncaller = {caller:?}\nsha256 = \"{hash}\"\nscopes = {scopes}\n")
    }

    #[test]
    fn a_file_says_who_may_do_what() {
        let callers = parse(&entry("shop", "t0k3n", r#"["orders:read", "orders:write"]"#)).unwrap();
        let caller = callers.values().next().unwrap();
        assert_eq!(caller.actor(), "token:shop");
        assert!(caller.may(Scope::OrdersWrite) && !caller.may(Scope::Operate));
    }

    #[test]
    fn a_role_is_a_word_for_scopes_and_stands_beside_others() {
        let callers = parse(&entry("mira", "t0k3n", r#"["role:support", "refunds:decide"]"#)).unwrap();
        let caller = callers.values().next().unwrap();
        let may: Vec<&str> = words().filter(|word| scopes_of(word).all(|scope| caller.may(scope))).collect();
        assert_eq!(may, ["orders:read", "orders:write", "refunds:decide", "role:viewer", "role:support"]);
        let callers = parse(&entry("ops", "t0k3n", r#"["role:operator"]"#)).unwrap();
        assert!(words().all(|word| scopes_of(word).all(|scope| callers.values().all(|caller| caller.may(scope)))));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let twice = entry("a", "same", "[]") + &entry("b", "same", "[]");
        for (text, word) in [
            (entry("a", "", "[]"), "empty"),
            (twice, "same token"),
            (entry("", "t", "[]"), "caller"),
            (entry("a", "t", r#"["orders:delete"]"#), "orders:delete"),
            (entry("a", "t", r#"["role:admin"]"#), "role:auditor"),
            ("[[token]]\ncaller = \"a\"\nsha256 = \"abc\"\nscopes = []".to_owned(), "64 hexadecimal"),
            ("token = 1".to_owned(), "token"),
            ("[[tokens]]".to_owned(), "tokens"),
        ] {
            let reason = parse(&text).unwrap_err();
            assert!(reason.contains(word), "{word} is not in {reason}");
        }
    }
}
