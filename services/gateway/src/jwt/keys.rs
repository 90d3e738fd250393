//! The keys of an identity provider, as a JSON Web Key Set (RFC 7517) has them: each with the one algorithm that it signs by.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

/// The most bytes of a set.
pub(super) const BYTES_MAX: usize = 1_048_576;

/// A key, and the only algorithm by which it is believed.
#[derive(Debug)]
pub(super) struct Key {
    /// As the head of a token names it.
    pub(super) algorithm: &'static str,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
    Curve(UnparsedPublicKey<Vec<u8>>),
}

/// The keys that are good now, by their names.
pub(super) type Keys = BTreeMap<String, Key>;

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// What is read of a key. What else it says is of no concern.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a set. Keys that no token can be verified by are passed over, such as those for encryption, and those that are secret (`oct`):
/// whoever could verify by one could sign by it too.
///
/// # Errors
/// It is none, has two keys of one name, or none that is good for anything.
pub(super) fn read(text: &str) -> Result<Keys, String> {
    let set: Set = serde_json::from_str(text).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
    let mut keys = Keys::new();
    for entry in set.keys {
        let Ok(jwk) = serde_json::from_value::<Jwk>(entry) else { continue };
        let (Some(name), Some(key)) = (jwk.kid.clone(), key(&jwk)) else { continue };
        if keys.insert(name.clone(), key).is_some() {
            return Err(format!("it has two keys of the name {name:?}"));
        }
    }
    if keys.is_empty() {
        return Err("it has no key for signatures that has a kid".to_owned());
    }
    Ok(keys)
}

fn key(jwk: &Jwk) -> Option<Key> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let (algorithm, material) = match jwk.kty.as_str() {
        "RSA" => rsa(jwk)?,
        "EC" => {
            let (algorithm, by): (_, &dyn VerificationAlgorithm) = match jwk.crv.as_deref()? {
                "P-256" => ("ES256", &ECDSA_P256_SHA256_FIXED),
                "P-384" => ("ES384", &ECDSA_P384_SHA384_FIXED),
                _ => return None,
            };
            // A point that is not compressed.
            let point = [vec![4], decoded(jwk.x.as_deref()?)?, decoded(jwk.y.as_deref()?)?].concat();
            (algorithm, Material::Curve(UnparsedPublicKey::new(by, point)))
        }
        "OKP" if jwk.crv.as_deref() == Some("Ed25519") => {
            ("EdDSA", Material::Curve(UnparsedPublicKey::new(&ED25519, decoded(jwk.x.as_deref()?)?)))
        }
        _ => return None,
    };
    let is_said = jwk.alg.as_deref().is_none_or(|said| said == algorithm);
    is_said.then_some(Key { algorithm, material })
}

/// A key that does not say by which algorithm signs by RS256.
fn rsa(jwk: &Jwk) -> Option<(&'static str, Material)> {
    let (algorithm, by) = match jwk.alg.as_deref().unwrap_or("RS256") {
        "RS256" => ("RS256", &RSA_PKCS1_2048_8192_SHA256),
        "RS384" => ("RS384", &RSA_PKCS1_2048_8192_SHA384),
        "RS512" => ("RS512", &RSA_PKCS1_2048_8192_SHA512),
        "PS256" => ("PS256", &RSA_PSS_2048_8192_SHA256),
        "PS384" => ("PS384", &RSA_PSS_2048_8192_SHA384),
        "PS512" => ("PS512", &RSA_PSS_2048_8192_SHA512),
        _ => return None,
    };
    let (n, e) = (decoded(jwk.n.as_deref()?)?, decoded(jwk.e.as_deref()?)?);
    Some((algorithm, Material::Rsa(by, RsaPublicKeyComponents { n, e })))
}

/// What a part of a token or of a key is in bytes.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl Key {
    /// Whether it has signed these bytes.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let verified: Result<(), ring::error::Unspecified> = match &self.material {
            Material::Rsa(by, key) => key.verify(by, bytes, signature),
            Material::Curve(key) => key.verify(bytes, signature),
        };
        verified.is_ok()
    }
}
