//! Whoever is not signed for, by a key for that, at this time, for this gateway, is nobody.

use std::{collections::BTreeSet, sync::RwLock};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use domain::Timestamp;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
        RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

use super::{Jwt, Source, keys};
use crate::caller::Scope;

const NOW: i64 = 1_790_000_000;

fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key that signs, with what is published of it.
struct Signer {
    jwk: Value,
    sign: Sign,
}

fn ed25519(kid: &str) -> Signer {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": coded(pair.public_key()), "use": "sig" });
    Signer { jwk, sign: Box::new(move |bytes| pair.sign(bytes).as_ref().to_vec()) }
}

fn p256(kid: &str) -> Signer {
    let (random, by) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let pair = EcdsaKeyPair::generate_pkcs8(by, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(by, pair.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": coded(&point[1..33]), "y": coded(&point[33..]) });
    Signer { jwk, sign: Box::new(move |bytes| pair.sign(&random, bytes).unwrap().as_ref().to_vec()) }
}

/// A key that was made for this test, and is good for nothing else.
fn rsa(kid: &str, by: &'static dyn RsaEncoding) -> Signer {
    let text: String = include_str!("tests/rsa_key.txt").split_whitespace().collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(text).unwrap()).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
    let jwk = json!({ "kty": "RSA", "kid": kid, "n": coded(public.n), "e": coded(public.e) });
    let sign = move |bytes: &[u8]| {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(by, &SystemRandom::new(), bytes, &mut signature).unwrap();
        signature
    };
    Signer { jwk, sign: Box::new(sign) }
}

fn set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn believer(keys: &[&Value]) -> Jwt {
    let known = keys::read(&set(keys)).unwrap();
    Jwt {
        issuer: "https://id.example".to_owned(),
        audience: "holdfast".to_owned(),
        source: Source::File(String::new()),
        known: RwLock::new((String::new(), known)),
        asked: tokio::sync::Mutex::default(),
    }
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "sub": "shop-1", "aud": "holdfast", "exp": NOW + 300, "nbf": NOW - 300,
        "scope": "orders:read orders:write openid" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn token(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", coded(head.to_string()), coded(claims.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", coded(signature))
}

fn head(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "kid": kid, "typ": "JWT" })
}

fn why(jwt: &Jwt, token: &str) -> &'static str {
    jwt.caller(token, Timestamp::from_micros(NOW * 1_000_000)).unwrap_err()
}

fn is_believed(jwt: &Jwt, token: &str) -> bool {
    jwt.caller(token, Timestamp::from_micros(NOW * 1_000_000)).is_ok()
}

#[test]
fn whoever_is_signed_for_is_the_subject_and_may_what_the_scopes_say() {
    for (alg, signer) in [("EdDSA", ed25519("a")), ("ES256", p256("a")), ("RS256", rsa("a", &RSA_PKCS1_SHA256))] {
        let jwt = believer(&[&signer.jwk]);
        let now = Timestamp::from_micros(NOW * 1_000_000);
        let caller = jwt.caller(&token(&head(alg, "a"), &claims(), &signer.sign), now).unwrap();
        assert_eq!((caller.actor().as_str(), caller.name.as_str()), ("jwt:shop-1", "shop-1"));
        assert_eq!(caller.scopes, BTreeSet::from([Scope::OrdersRead, Scope::OrdersWrite]), "{alg}");
        let scp = |scp: Value| {
            let mut claims = with("scp", scp);
            claims.as_object_mut().unwrap().remove("scope");
            jwt.caller(&token(&head(alg, "a"), &claims, &signer.sign), now).unwrap().scopes.clone()
        };
        assert_eq!(scp(json!(["operate", "other"])), BTreeSet::from([Scope::Operate]));
        assert_eq!(scp(json!("operate orders:read")), BTreeSet::from([Scope::OrdersRead, Scope::Operate]));
    }
}

/// RFC 8037, appendix A.4: made by others.
#[test]
fn a_signature_that_others_have_made_is_believed() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let keys = keys::read(&set(&[&jwk])).unwrap();
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(keys["a"].has_signed(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc", &signature));
    assert!(!keys["a"].has_signed(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmd", &signature));
}

#[test]
fn what_is_forged_or_cut_is_nobodys() {
    let (signer, other) = (ed25519("a"), ed25519("a"));
    let jwt = believer(&[&signer.jwk]);
    let good = token(&head("EdDSA", "a"), &claims(), &signer.sign);
    assert!(is_believed(&jwt, &good));
    assert_eq!(why(&jwt, &token(&head("EdDSA", "a"), &claims(), &other.sign)), "the token is not signed by its key");
    // Signed for one thing, and said to be another.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (start, _) = signed.split_once('.').unwrap();
    let more = coded(with("scope", json!("operate")).to_string());
    assert_eq!(why(&jwt, &format!("{start}.{more}.{signature}")), "the token is not signed by its key");
    for place in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(!is_believed(&jwt, &String::from_utf8(bytes).unwrap()), "changed at {place}");
        assert!(!is_believed(&jwt, &good[..place]), "cut at {place}");
    }
    for form in
        ["", ".", "..", "a.b.c", &format!("{good}."), &format!("{good}.x"), &format!(" {good}"), &format!("{good}=")]
    {
        assert!(!is_believed(&jwt, form), "{form}");
    }
    assert!(!is_believed(&jwt, &format!("{}{good}", "a".repeat(20_000))));
}

#[test]
fn the_key_says_by_which_algorithm_and_never_the_token() {
    const OTHER: &str = "the token is signed by another algorithm than its key is for";
    let (signer, curve) = (rsa("a", &RSA_PKCS1_SHA256), p256("b"));
    let jwt = believer(&[&signer.jwk, &curve.jwk]);
    let unsigned = |alg: &str| token(&head(alg, "a"), &claims(), |_| Vec::new());
    for none in ["none", "None", "NONE", "", "nOnE"] {
        assert_eq!(why(&jwt, &unsigned(none)), OTHER, "{none}");
    }
    assert_eq!(why(&jwt, &unsigned("RS256")), "the token is not signed by its key");
    // What is public of the key, as the secret of a signature that anybody can make: in each of its forms.
    let n = signer.jwk["n"].as_str().unwrap();
    for secret in [n.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(n).unwrap(), signer.jwk.to_string().into_bytes()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let sign = |bytes: &[u8]| hmac::sign(&key, bytes).as_ref().to_vec();
        assert_eq!(why(&jwt, &token(&head("HS256", "a"), &claims(), sign)), OTHER);
        assert_eq!(why(&jwt, &token(&head("RS256", "a"), &claims(), sign)), "the token is not signed by its key");
    }
    // Rightly signed by the key, in a way that it is not for; and by another key in its name.
    let by_512 = rsa("a", &RSA_PKCS1_SHA512);
    assert_eq!(why(&jwt, &token(&head("RS512", "a"), &claims(), &by_512.sign)), OTHER);
    assert_eq!(why(&jwt, &token(&head("RS256", "a"), &claims(), &by_512.sign)), "the token is not signed by its key");
    assert_eq!(why(&jwt, &token(&head("ES256", "a"), &claims(), &curve.sign)), OTHER);
    assert!(is_believed(&jwt, &token(&head("ES256", "b"), &claims(), &curve.sign)));
    let critical = json!({ "alg": "RS256", "kid": "a", "crit": ["b64"], "b64": false });
    assert!(!is_believed(&jwt, &token(&critical, &claims(), &signer.sign)));
}

#[test]
fn a_token_is_good_for_its_time_its_issuer_and_its_audience() {
    let signer = ed25519("a");
    let jwt = believer(&[&signer.jwk]);
    let of = |claims: Value| token(&head("EdDSA", "a"), &claims, &signer.sign);
    assert_eq!(why(&jwt, &of(with("exp", json!(NOW - 30)))), "the token has expired");
    assert!(is_believed(&jwt, &of(with("exp", json!(NOW - 29)))));
    assert_eq!(why(&jwt, &of(with("nbf", json!(NOW + 31)))), "the token is not good yet");
    assert!(is_believed(&jwt, &of(with("nbf", json!(NOW + 30)))));
    assert_eq!(why(&jwt, &of(with("aud", json!("another")))), "the token is for another audience");
    assert_eq!(
        why(&jwt, &of(with("aud", json!(["another", "holdfas", "holdfast2"])))),
        "the token is for another audience"
    );
    assert!(is_believed(&jwt, &of(with("aud", json!(["another", "holdfast"])))));
    assert_eq!(why(&jwt, &of(with("iss", json!("https://id.example/")))), "the token is by another issuer");
    assert_eq!(why(&jwt, &of(with("sub", json!("")))), "the token's sub is no name");
    assert_eq!(why(&jwt, &of(with("sub", json!("a\nb")))), "the token's sub is no name");
    // What is left out, and what is there in another type, is not passed over.
    for name in ["exp", "iss", "sub", "aud"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(!is_believed(&jwt, &of(claims)), "without {name}");
    }
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!("0")),
        ("nbf", Value::Null),
        ("nbf", json!(1.5)),
        ("aud", json!(7)),
        ("iss", json!(["https://id.example"])),
        ("sub", json!(7)),
        ("scope", json!(["operate"])),
    ] {
        assert!(!is_believed(&jwt, &of(with(name, value.clone()))), "{name}: {value}");
    }
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("nbf");
    assert!(is_believed(&jwt, &of(claims)));
}

#[test]
fn a_key_is_good_while_it_is_published() {
    let (old, new) = (ed25519("old"), ed25519("new"));
    let of = |signer: &Signer, kid: &str| token(&head("EdDSA", kid), &claims(), &signer.sign);
    let jwt = believer(&[&old.jwk]);
    assert!(is_believed(&jwt, &of(&old, "old")));
    assert_eq!(why(&jwt, &of(&new, "new")), "the token's key is not known");
    assert_eq!(why(&jwt, &token(&json!({ "alg": "EdDSA" }), &claims(), &old.sign)), "the token's key is not known");
    *jwt.known.write().unwrap() = (String::new(), keys::read(&set(&[&new.jwk])).unwrap());
    assert!(is_believed(&jwt, &of(&new, "new")));
    assert_eq!(why(&jwt, &of(&old, "old")), "the token's key is not known");
}

#[test]
fn a_set_has_keys_for_signatures_and_no_secrets() {
    let key = ed25519("a").jwk;
    let changed = |name: &str, value: &str| {
        let mut key = key.clone();
        key[name] = json!(value);
        key
    };
    let secret = json!({ "kty": "oct", "kid": "s", "alg": "HS256", "k": "c2VjcmV0" });
    for (keys, words) in [
        (set(&[]), "no key"),
        (set(&[&secret]), "no key"),
        (set(&[&changed("use", "enc")]), "no key"),
        (set(&[&changed("alg", "HS256")]), "no key"),
        (set(&[&changed("crv", "X25519")]), "no key"),
        (set(&[&key, &key]), "two keys"),
        ("[]".to_owned(), "no JSON Web Key Set"),
        ("{".to_owned(), "no JSON Web Key Set"),
    ] {
        let reason = keys::read(&keys).unwrap_err();
        assert!(reason.contains(words), "{keys}: {reason}");
    }
    assert_eq!(keys::read(&set(&[&secret, &key])).unwrap().len(), 1);
    let mut rsa = rsa("r", &RSA_PKCS1_SHA256).jwk;
    for (alg, known) in [("RS256", true), ("PS512", true), ("HS256", false), ("ES256", false), ("none", false)] {
        rsa["alg"] = json!(alg);
        assert_eq!(keys::read(&set(&[&rsa])).is_ok(), known, "{alg}");
    }
}
