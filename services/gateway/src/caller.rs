//! Callers: who asks, and what he may.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use serde::Deserialize;

use crate::{Gateway, problem::Problem};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Scope {
    /// Read orders, and answers to commands.
    #[serde(rename = "orders:read")]
    OrdersRead,
    /// Place, cancel and refund orders.
    #[serde(rename = "orders:write")]
    OrdersWrite,
    /// Products and rounds.
    #[serde(rename = "catalog:write")]
    CatalogWrite,
    /// Decide refunds and reports that wait for a person.
    #[serde(rename = "refunds:decide")]
    RefundsDecide,
    /// What operators do.
    #[serde(rename = "operate")]
    Operate,
    /// Read the log.
    #[serde(rename = "audit:read")]
    AuditRead,
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
}

impl Caller {
    /// The actor of his commands: how he proved himself, and who he is.
    pub(crate) fn actor(&self) -> String {
        format!("token:{}", self.name)
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// Who asks, if he may.
///
/// # Errors
/// No token, one that nobody has, or one that is not good for this.
pub(crate) fn authorize(gateway: &Gateway, headers: &HeaderMap, scope: Scope) -> Result<Arc<Caller>, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(Problem::unauthenticated("give one header: Authorization: Bearer TOKEN"));
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        return Err(Problem::unauthenticated("the header Authorization must be: Bearer TOKEN"));
    };
    let caller = gateway.tokens.caller(token.trim());
    let caller = caller.ok_or_else(|| Problem::unauthenticated("nobody has this token"))?;
    if caller.may(scope) {
        return Ok(caller);
    }
    Err(Problem::forbidden(&caller.name, scope.word()))
}
