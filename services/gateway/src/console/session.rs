//! Visitors: a token is signed in with once, and stands in a cookie from then on, sealed, so that only a gateway can read it.
//!
//! The token is looked up at each request, as that of any request is: one that is taken out of the file is good for nothing at once, here too.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Timestamp;
use platform::{clock, error::Error, secret_file::SecretFile};
use ring::{
    aead::{self, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};

use super::{
    frame::{self, Frame, HERE, html},
    orders::query_of,
    see_other,
};
use crate::{
    Gateway,
    caller::{self, Caller, Scope},
    commands::insert,
    problem::Problem,
    request, secret,
};

const COOKIE: &str = "holdfast_session";

/// After so long without a request a visitor signs in again,
const IDLE_MAX: Duration = Duration::from_mins(30);

/// and after so long in any case.
const SESSION_MAX: Duration = Duration::from_hours(8);

/// How old what a cookie says of its last use becomes before it is written anew.
const RENEWED_AFTER: Duration = Duration::from_mins(1);

/// The longest cookie that all browsers keep.
const COOKIE_CHARS_MAX: usize = 4_000;

/// The most bytes of a form.
pub(super) const FORM_BYTES_MAX: usize = 65_536;

/// What cookies are sealed with.
pub(crate) struct SessionKey(LessSafeKey);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionKey")
    }
}

/// What a cookie says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    token: String,
    /// When it was signed in, in microseconds.
    begun: i64,
    /// And when it was used last.
    used: i64,
    /// Whether its cookie is for HTTPS only.
    is_secure: bool,
}

/// Whoever looks at a page.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(super) caller: Arc<Caller>,
    /// What he has signed in with.
    pub(super) token: String,
    /// The console's root, as seen from the page.
    pub(super) root: String,
    /// The page and its query, below that root.
    pub(super) path: String,
}

impl SessionKey {
    /// Reads the secret. `None`: there is none, and so there is no console.
    ///
    /// # Errors
    /// The file cannot be read, or its secret is too short.
    pub(crate) fn read(path: &str) -> Result<Option<SecretFile<Self>>, Error> {
        let named = ("gateway.console_secret", "reading the secret of the console (setting gateway.console_secret)");
        secret::read(named, path, Self::of)
    }

    fn of(secret: &str) -> Result<Self, String> {
        secret::is_long_enough(secret)?;
        // A key of its own, whatever else the secret is used for.
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"holdfast console session");
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref());
        key.map(LessSafeKey::new).map(Self).map_err(|_unspecified| "no key can be made of the secret".to_owned())
    }

    /// `None`: the system has no random numbers.
    fn seal(&self, session: &Session) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut bytes = serde_json::to_vec(session).ok()?;
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(sealing, aad(), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// `None`: no gateway with this key has written it.
    fn open(&self, cookie: &str) -> Option<Session> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad(), &mut sealed).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

/// What else uses the same key reads nothing of this.
fn aad() -> Aad<&'static [u8]> {
    aead::Aad::from(COOKIE.as_bytes())
}

impl Session {
    /// Whether it goes on, and whether it must be written anew.
    fn goes_on(&self, now: Timestamp) -> Option<bool> {
        let since = |micros: i64| now.since(Timestamp::from_micros(micros));
        let is_over = since(self.begun) >= SESSION_MAX || since(self.used) >= IDLE_MAX;
        (!is_over).then(|| since(self.used) >= RENEWED_AFTER)
    }
}

/// The secret's key.
///
/// # Errors
/// There is no console.
fn key(gateway: &Gateway) -> Result<Arc<SessionKey>, Problem> {
    let off = || Problem::own("NOT_FOUND", "this gateway has no console: the setting gateway.console_secret is empty");
    gateway.session_key.as_ref().map(SecretFile::current).ok_or_else(off)
}

/// Lets in whoever has signed in, and forms only from pages of the console.
pub(super) async fn let_in(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let (visitor, renewed) = match known(&gateway, &headers, &uri).await {
        Ok(known) => known,
        Err(problem) => return problem.into_response(),
    };
    let is_read = request.method().is_safe();
    if !is_read && let Err(problem) = is_from_here(&headers) {
        return problem.into_response();
    }
    let renewed = match renewed.filter(|_| is_read) {
        None => None,
        Some(cookie) if visitor.root == HERE => Some(cookie),
        Some(_) => match next_page(&visitor.path) {
            page if page.is_empty() => None,
            page => {
                return see_other(&format!(
                    "{}renew?{}",
                    visitor.root,
                    query_of([("next", page.as_str())].into_iter())
                ));
            }
        },
    };
    let visitor = Arc::new(visitor);
    request.extensions_mut().insert(Arc::clone(&visitor));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(visitor);
    if let Some(cookie) = renewed.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// `GET /console/renew`: a browser keeps a cookie for what is below the page that sets it. A deeper page would set another, which outlived a
/// sign-out; so it goes by here.
pub(super) async fn renew(RawQuery(query): RawQuery) -> Response {
    match next_of(query.as_deref()) {
        next if next.is_empty() => see_other(HERE),
        next => see_other(&next),
    }
}

/// Who asks, and his cookie if it must be written anew.
async fn known(gateway: &Gateway, headers: &HeaderMap, uri: &Uri) -> Result<(Visitor, Option<String>), Problem> {
    let key = key(gateway)?;
    let over = || Problem::unauthenticated("sign in");
    let session = cookie(headers).and_then(|cookie| key.open(cookie)).ok_or_else(over)?;
    let now = clock::now();
    let must_renew = session.goes_on(now).ok_or_else(over)?;
    let caller = proved(gateway, &session.token).await?;
    // A page that fetches itself anew is no use of the console by anybody.
    let is_opened = said(headers, "sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    let renewed = (must_renew && is_opened)
        .then(|| key.seal(&Session { used: now.as_micros(), ..session.clone() }))
        .flatten()
        .map(|sealed| written(&sealed, session.is_secure));
    let (root, path) = (frame::root_of(uri.path()), frame::within(uri.path(), uri.query()));
    Ok((Visitor { caller, token: session.token, root, path }, renewed))
}

async fn proved(gateway: &Gateway, token: &str) -> Result<Arc<Caller>, Problem> {
    if let Some(jwt) = &gateway.jwt {
        jwt.learn(token).await;
    }
    caller::of_token(gateway, token)
}

/// The value of our cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// A cookie as a browser is told to keep it: for the pages below the one that sets it, which is the console, whatever prefix stands before it.
fn written(value: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; HttpOnly; SameSite=Strict{secure}")
}

/// What a header says.
fn said<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What the browser calls this machine, also if a proxy calls it something else.
fn host(headers: &HeaderMap) -> Option<&str> {
    said(headers, "x-forwarded-host").or_else(|| said(headers, "host"))
}

/// Whether the browser keeps a cookie for HTTPS only. All do, but some on this very machine, where there is no certificate.
fn is_secure(headers: &HeaderMap) -> bool {
    let host = host(headers).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    let is_https = said(headers, "x-forwarded-proto") == Some("https")
        || said(headers, "origin").is_some_and(|origin| origin.starts_with("https://"));
    !is_loopback || is_https
}

/// That a form was sent by a page of this console, and by no other that its visitor has open.
///
/// # Errors
/// The browser says that it was not, or does not say.
fn is_from_here(headers: &HeaderMap) -> Result<(), Problem> {
    let is_ours = match said(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin",
        // Over plain HTTP to another machine browsers leave it out.
        None => {
            let origin = said(headers, "origin").and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            origin.is_some() && origin == host(headers)
        }
    };
    let refused = || Problem::own("FORBIDDEN", "this form was not sent by a page of this console: open it again here");
    if is_ours { Ok(()) } else { Err(refused()) }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    next: String,
    /// Why not.
    refused: Option<String>,
}

/// `GET /console/sign-in`
pub(super) async fn form(State(gateway): State<Arc<Gateway>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    key(&gateway)?;
    let next = next_of(query.as_deref());
    html(&SignIn { frame: Frame::outside(&gateway, HERE, "Sign in"), next, refused: None })
}

/// `POST /console/sign-in`
pub(super) async fn sign_in(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = key(&gateway)?;
    is_from_here(&headers)?;
    let form = form_of(&gateway, body).await?;
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim());
    let (token, next) = (field("token"), next_page(field("next")));
    let begun = clock::now().as_micros();
    let session = Session { token: token.to_owned(), begun, used: begun, is_secure: is_secure(&headers) };
    let sealed = key.seal(&session).filter(|sealed| sealed.len() <= COOKIE_CHARS_MAX);
    let refused = match (proved(&gateway, token).await, sealed) {
        (Ok(caller), Some(sealed)) => {
            caller.must(Scope::OrdersRead)?;
            tracing::info!(caller = caller.name, "signed in to the console");
            let mut response = see_other(if next.is_empty() { HERE } else { &next });
            insert(response.headers_mut(), header::SET_COOKIE, &written(&sealed, session.is_secure));
            return Ok(response);
        }
        (Ok(_), None) => "this token is too long for a browser's cookie".to_owned(),
        (Err(problem), _) => problem.detail,
    };
    tracing::warn!(reason = refused, "somebody could not sign in to the console");
    let frame = Frame::outside(&gateway, HERE, "Sign in");
    let mut response = html(&SignIn { frame, next, refused: Some(refused) })?;
    *response.status_mut() = axum::http::StatusCode::FORBIDDEN;
    Ok(response)
}

/// `POST /console/sign-out`
pub(super) async fn sign_out(headers: HeaderMap) -> Result<Response, Problem> {
    is_from_here(&headers)?;
    let mut response = see_other("sign-in");
    insert(response.headers_mut(), header::SET_COOKIE, &format!("{}; Max-Age=0", written("", is_secure(&headers))));
    Ok(response)
}

/// Has a visitor say who he is, and go on at the page that he wanted.
pub(super) fn ask_who(root: &str, path: &str) -> Response {
    let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    let question = if next.is_empty() { String::new() } else { format!("?next={next}") };
    see_other(&format!("{root}sign-in{question}"))
}

/// The page to go on at that a query names.
fn next_of(query: Option<&str>) -> String {
    let next = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "next");
    next.map(|(_, next)| next_page(&next)).unwrap_or_default()
}

/// A page of the console to go on at; nothing else is gone to.
fn next_page(next: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.~?&=%+".contains(letter);
    let is_page = next.chars().all(is_plain) && !next.starts_with('/') && !next.contains("..") && !next.contains("//");
    if is_page { next.to_owned() } else { String::new() }
}

/// The fields of a form.
pub(super) async fn form_of(gateway: &Gateway, body: Body) -> Result<Vec<(String, String)>, Problem> {
    let bytes = request::bytes(body, FORM_BYTES_MAX, gateway.settings.read_ms).await?;
    Ok(form_urlencoded::parse(&bytes).into_owned().collect())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use domain::Timestamp;

    use super::{Session, SessionKey, cookie, is_from_here, is_secure, next_page};

    fn key(secret: &str) -> SessionKey {
        SessionKey::of(secret).unwrap()
    }

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = given.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn only_who_has_the_secret_reads_a_cookie_and_nobody_changes_it() {
        let (ours, other) = (key(&"a".repeat(32)), key(&"b".repeat(32)));
        let session = Session { token: "t0k3n".to_owned(), begun: 1, used: 2, is_secure: true };
        let sealed = ours.seal(&session).unwrap();
        assert!(!sealed.contains("t0k3n"));
        assert_eq!(ours.open(&sealed), Some(session.clone()));
        assert_eq!(other.open(&sealed), None);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.open(&String::from_utf8(changed).unwrap()).filter(|opened| *opened != session), None);
        }
        assert_ne!(ours.seal(&session), Some(sealed), "a nonce is used once");
        for short in ["", "AAAA", "%%%"] {
            assert_eq!(ours.open(short), None);
        }
        assert!(SessionKey::of(&"a".repeat(31)).unwrap_err().contains("32 is the least"));
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_after_a_day_of_work() {
        let minutes = |count: i64| count * 60_000_000;
        let at = |now: i64, used: i64| {
            let session = Session { token: String::new(), begun: 0, used: minutes(used), is_secure: true };
            session.goes_on(Timestamp::from_micros(minutes(now)))
        };
        assert_eq!(at(0, 0), Some(false));
        assert_eq!(at(2, 0), Some(true));
        assert_eq!((at(29, 0), at(30, 0)), (Some(true), None));
        assert_eq!((at(479, 478), at(480, 479)), (Some(true), None));
    }

    #[test]
    fn forms_of_other_sites_are_refused() {
        let is_ours = |given: &[(&'static str, &'static str)]| is_from_here(&headers(given)).is_ok();
        assert!(is_ours(&[("sec-fetch-site", "same-origin")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!is_ours(&[("sec-fetch-site", site), ("origin", "http://a"), ("host", "a")]), "{site}");
        }
        assert!(is_ours(&[("origin", "http://shop.example:8080"), ("host", "shop.example:8080")]));
        assert!(is_ours(&[
            ("origin", "https://shop.example"),
            ("host", "gateway"),
            ("x-forwarded-host", "shop.example")
        ]));
        for other in
            [&[("origin", "null"), ("host", "a")][..], &[("origin", "http://b"), ("host", "a")], &[("host", "a")]]
        {
            assert!(!is_ours(other), "{other:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_is_for_https_only_but_on_this_machine() {
        let found = |given: &'static str| cookie(&headers(&[("cookie", given)])).map(str::to_owned);
        assert_eq!(found("a=b; holdfast_session=x.y; c=d"), Some("x.y".to_owned()));
        assert_eq!(found("xholdfast_session=1"), None);
        let secure = |given: &[(&'static str, &'static str)]| is_secure(&headers(given));
        assert!(secure(&[("host", "shop.example")]) && secure(&[("host", "127.0.0.1.evil.example:80")]) && secure(&[]));
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80"] {
            assert!(!secure(&[("host", host), ("origin", "http://127.0.0.1")]), "{host}");
            // A proxy on this machine may speak for a browser far away.
            for said in [
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "https"),
                ("origin", "https://shop.example"),
            ] {
                assert!(secure(&[("host", host), said]), "{host}, {said:?}");
            }
        }
    }

    #[test]
    fn whoever_signs_in_goes_on_within_the_console() {
        for page in ["orders", "orders/7?x=1&y=a%20b", "search?text=M%C3%BC"] {
            assert_eq!(next_page(page), page);
        }
        for other in
            ["/", "//evil.example", "https://evil.example", "../v1", "a//b", "javascript:alert(1)", "a\\b", "a\nb"]
        {
            assert_eq!(next_page(other), "", "{other}");
        }
    }
}
