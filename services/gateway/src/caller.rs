//! Callers: who asks, and what he may.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use platform::clock;

use crate::{Gateway, problem::Problem};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Read orders, and answers to commands.
    OrdersRead,
    /// Place, cancel and refund orders.
    OrdersWrite,
    /// Products and rounds.
    CatalogWrite,
    /// Decide refunds and reports that wait for a person.
    RefundsDecide,
    /// What operators do.
    Operate,
    /// Read the log.
    AuditRead,
}

const SCOPES: [Scope; 6] = [
    Scope::OrdersRead,
    Scope::OrdersWrite,
    Scope::CatalogWrite,
    Scope::RefundsDecide,
    Scope::Operate,
    Scope::AuditRead,
];

/// What people do, as a word for what they may.
const ROLES: [(&str, &[Scope]); 5] = [
    ("role:viewer", &[Scope::OrdersRead]),
    ("role:support", &[Scope::OrdersRead, Scope::OrdersWrite]),
    ("role:auditor", &[Scope::OrdersRead, Scope::AuditRead]),
    ("role:owner", &[Scope::OrdersRead, Scope::CatalogWrite]),
    ("role:operator", &SCOPES),
];

/// What a word of a token is good for: a scope, or a role. Of a word of others, nothing.
pub(crate) fn scopes_of(word: &str) -> impl Iterator<Item = Scope> {
    let of_role = ROLES.iter().filter(move |(role, _)| *role == word).flat_map(|(_, scopes)| scopes.iter().copied());
    SCOPES.into_iter().filter(move |scope| scope.word() == word).chain(of_role)
}

/// All words.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    SCOPES.iter().map(|scope| scope.word()).chain(ROLES.iter().map(|(role, _)| *role))
}

impl Scope {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::CatalogWrite => "catalog:write",
            Self::RefundsDecide => "refunds:decide",
            Self::Operate => "operate",
            Self::AuditRead => "audit:read",
        }
    }
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) scopes: BTreeSet<Scope>,
    pub(crate) proof: Proof,
}

/// How he has proved himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a token of the file.
    Token,
    /// By a token that an identity provider has signed.
    Jwt,
}

impl Caller {
    /// The actor of his commands: how he proved himself, and who he is.
    pub(crate) fn actor(&self) -> String {
        match self.proof {
            Proof::Token => format!("token:{}", self.name),
            Proof::Jwt => format!("jwt:{}", self.name),
        }
    }

    /// Whose the keys of his requests are. No token of the file has a name with a line break.
    pub(crate) fn owner_of_keys(&self) -> Cow<'_, str> {
        match self.proof {
            Proof::Token => Cow::Borrowed(&self.name),
            Proof::Jwt => Cow::Owned(format!("jwt\n{}", self.name)),
        }
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// That he may.
    ///
    /// # Errors
    /// He may not.
    pub(crate) fn must(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) { Ok(()) } else { Err(Problem::forbidden(&self.name, scope.word())) }
    }
}

/// Who asks, if he may.
///
/// # Errors
/// No token, one that nobody has, or one that is not good for this.
pub(crate) fn authorize(gateway: &Gateway, headers: &HeaderMap, scope: Scope) -> Result<Arc<Caller>, Problem> {
    let caller = of_token(gateway, bearer(headers)?)?;
    caller.must(scope)?;
    Ok(caller)
}

/// Whose token it is.
///
/// # Errors
/// Nobody has it, or its time is over.
pub(crate) fn of_token(gateway: &Gateway, token: &str) -> Result<Arc<Caller>, Problem> {
    match (gateway.tokens.caller(token), &gateway.jwt) {
        (Some(caller), _) => Ok(caller),
        (None, Some(jwt)) => jwt.caller(token, clock::now()).map_err(Problem::unauthenticated),
        (None, None) => Err(Problem::unauthenticated("nobody has this token")),
    }
}

/// The token that a request bears.
///
/// # Errors
/// None, or more than one.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(Problem::unauthenticated("give one header: Authorization: Bearer TOKEN"));
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim());
    token.ok_or_else(|| Problem::unauthenticated("the header Authorization must be: Bearer TOKEN"))
}
