//! As whom a connection is made: by a file that is read again for every new connection, so that another key needs no restart.

use std::{fs, path::Path};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::error::Error;

/// What to connect with; an empty path is nobody.
///
/// # Errors
/// The file is not what it should be.
pub(super) fn options(path: &str) -> Result<ConnectOptions, Error> {
    if path.is_empty() {
        return Ok(ConnectOptions::new());
    }
    // One that is wrong from the start is the operator's mistake. One that is wrong later is tried again with every connection.
    read(Path::new(path)).map_err(|reason| Error::Permanent {
        what: "reading the NATS credentials file (setting broker.credentials)",
        source: format!("{path}: {reason}").into(),
    })?;
    let path = path.to_owned();
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let answer = read(Path::new(&path)).and_then(|credentials| credentials.answer(&nonce));
        async move { answer.map_err(AuthError::new) }
    }))
}

/// What a file says.
struct Credentials {
    /// Who vouches for the key; without it nats-server knows the key itself.
    jwt: Option<String>,
    key: KeyPair,
}

impl Credentials {
    fn answer(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|error| error.to_string())?);
        auth.nkey = self.jwt.is_none().then(|| self.key.public_key());
        auth.jwt.clone_from(&self.jwt);
        Ok(auth)
    }
}

/// No reason has a part of the file: it ends in logs.
fn read(path: &Path) -> Result<Credentials, String> {
    parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn parse(text: &str) -> Result<Credentials, String> {
    // Lines of a .creds file that are neither frame nor comment are the JWT, then the seed. A file of an nkey has only that.
    let is_value = |line: &&str| !line.is_empty() && !line.starts_with(['-', '*', '#']) && !line.contains(' ');
    let values: Vec<&str> = text.lines().map(str::trim).filter(is_value).collect();
    let (jwt, seed) = match values.as_slice() {
        [seed] => (None, seed),
        [jwt, seed] => (Some((*jwt).to_owned()), seed),
        _ => return Err("it must have one seed of an nkey (SU…), or a JWT and its seed".to_owned()),
    };
    if !seed.starts_with("SU") {
        return Err("its seed is not one of a user (SU…)".to_owned());
    }
    let key = KeyPair::from_seed(seed).map_err(|_secret| "its seed is damaged".to_owned())?;
    Ok(Credentials { jwt, key })
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::parse;

    #[test]
    fn a_seed_alone_proves_who_one_is() {
        let key = KeyPair::new_user();
        let auth = parse(&format!("{}\n", key.seed().unwrap())).unwrap().answer(b"nonce").unwrap();
        assert_eq!((auth.nkey, auth.jwt), (Some(key.public_key()), None));
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn a_file_of_nsc_has_a_jwt_and_the_seed_for_it() {
        let seed = KeyPair::new_user().seed().unwrap();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\nheader.body.signature\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nNKEY Seed printed below can be used to sign and prove \
             identity.\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let auth = parse(&file).unwrap().answer(b"nonce").unwrap();
        assert_eq!((auth.nkey, auth.jwt.as_deref()), (None, Some("header.body.signature")));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let seed = KeyPair::new_user().seed().unwrap();
        let account = KeyPair::new_account().seed().unwrap();
        let damaged = format!("{}{}{}", &seed[..30], if &seed[30..31] == "A" { "B" } else { "A" }, &seed[31..]);
        for file in [String::new(), format!("{seed}\n{seed}\n{seed}"), account.clone(), damaged] {
            let Err(reason) = parse(&file) else { panic!("{file}") };
            assert!(!reason.contains(&seed[..20]) && !reason.contains(&account[..20]), "{reason}");
        }
    }
}
