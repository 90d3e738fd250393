//! Dead letters that nobody is to send again are set aside. They are kept, and are no finding any more.

use runtime::letters;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use utoipa::ToSchema;

use crate::{
    Outcome, Result, Why,
    letters::{Opened, Selection, chosen, note, target},
};

/// What is noted of it.
const VERB: &str = "SetAside";

/// What became of the letters.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LettersSetAside)]
pub struct Report {
    /// Whether nothing was done.
    dry_run: bool,
    set_aside: usize,
    /// Settled before.
    refused: usize,
    letters: Vec<SetAside>,
}

/// What became of one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LetterSetAside)]
struct SetAside {
    letter: String,
    /// Why it could not be handled,
    code: String,
    subject: String,
    /// The stream that it is about, if it says so.
    key: Option<String>,
    /// and in words.
    reason: String,
    /// due (in a dry run), `set_aside`, or refused: it is settled already.
    outcome: Outcome,
}

/// Sets letters aside.
///
/// # Errors
/// They cannot be told, or Postgres failed: those before are set aside.
pub async fn set_aside(connection: &mut PgConnection, selection: &Selection, why: &Why) -> Result<Report> {
    let mut letters = Vec::new();
    for opened in &chosen(connection, selection, why).await? {
        letters.push(one(connection, opened, why).await?);
    }
    let count = |outcome: Outcome| letters.iter().filter(|letter| letter.outcome == outcome).count();
    let (set_aside, refused) = (count(Outcome::SetAside), count(Outcome::Refused));
    Ok(Report { dry_run: why.reason.is_none(), set_aside, refused, letters })
}

async fn one(connection: &mut PgConnection, opened: &Opened, why: &Why) -> Result<SetAside> {
    let Opened { letter, key, .. } = opened;
    let mut transaction = connection.begin().await?;
    let locked = letters::lock(&mut transaction, letter.service, letter.id).await?;
    let is_open = locked.is_some_and(|locked| locked.settled_at.is_none());
    let outcome = match &why.reason {
        _ if !is_open => match why.has_done(&mut transaction, VERB, &target(letter)).await? {
            true => Outcome::SetAside,
            false => Outcome::Refused,
        },
        None => Outcome::Due,
        Some(reason) => {
            note(&mut transaction, VERB, (letter, key.as_deref()), (reason, why)).await?;
            letter.is_settled(&mut transaction).await?;
            Outcome::SetAside
        }
    };
    transaction.commit().await?;
    Ok(SetAside {
        letter: letter.name(),
        code: letter.code.clone(),
        subject: letter.subject.clone(),
        key: key.clone(),
        reason: letter.reason.clone(),
        outcome,
    })
}

impl Report {
    /// Whether all of them are set aside, or would be.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.refused == 0
    }

    /// The same in words.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |of: &SetAside| {
            let SetAside { letter, code, subject, key, reason, outcome } = of;
            let about = key.as_ref().map(|key| format!(", about {key}")).unwrap_or_default();
            let outcome = if *outcome == Outcome::Refused {
                "is settled already"
            } else if *outcome == Outcome::Due {
                "would be set aside"
            } else {
                "is set aside"
            };
            format!("{letter} {outcome}: {code}  {subject}{about}\n  failed   {reason}\n")
        };
        let letters: String = self.letters.iter().map(line).collect();
        match self.dry_run {
            true => format!("{letters}{} letters; nothing was done\n", self.letters.len()),
            false => format!("{letters}{} set aside, {} settled already\n", self.set_aside, self.refused),
        }
    }
}
