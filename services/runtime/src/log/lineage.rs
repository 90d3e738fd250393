//! Which log this is: its installation, and its epochs.
//!
//! A position names one event of an epoch. A database that was restored, or a standby that was promoted too early, gives out positions
//! again that others know for events that it has lost. If those are given up, a new epoch begins.

use async_nats::HeaderMap;
use domain::GlobalPosition;
use platform::{error::Error, message::header};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Which log this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Its installation, the same in the database and at the broker.
    pub installation: Uuid,
    /// The name that its workers are given, if they are given one.
    pub name: Option<String>,
    /// Its epochs, the first first.
    epochs: Vec<Epoch>,
}

/// A time in the log's life in which no published event was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Epoch {
    number: i32,
    /// Events of the epoch before it count up to this position,
    after: GlobalPosition,
    /// but for these.
    given_up: Vec<GlobalPosition>,
}

impl Epoch {
    fn of(number: i32, after: i64, given_up: &[i64]) -> Self {
        let given_up = given_up.iter().copied().map(GlobalPosition::new).collect();
        Self { number, after: GlobalPosition::new(after), given_up }
    }
}

impl Lineage {
    /// Reads it from the database.
    ///
    /// # Errors
    /// Postgres failed, or lacks the tables.
    pub async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        let failed = |error| Error::database("reading which log this is", error);
        let installation =
            sqlx::query("select id, name from log.installation").fetch_one(&mut *connection).await.map_err(failed)?;
        let epochs = sqlx::query("select epoch, after, given_up from log.epochs order by epoch")
            .try_map(|row: sqlx::postgres::PgRow| {
                let (after, given_up): (i64, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
                Ok(Epoch::of(row.try_get(0)?, after, &given_up))
            })
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        let id = installation.try_get(0).map_err(failed)?;
        Ok(Self { installation: id, name: installation.try_get(1).map_err(failed)?, epochs })
    }

    /// The epoch of what is written now.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epochs.last().map_or(1, |epoch| epoch.number)
    }

    /// The epoch of the event at this position of the log.
    #[must_use]
    pub fn epoch_of(&self, position: GlobalPosition) -> i32 {
        self.epochs.iter().rev().find(|epoch| epoch.after < position).map_or(1, |epoch| epoch.number)
    }

    /// Whether an event was published and then given up.
    #[must_use]
    pub fn is_given_up(&self, epoch: i32, position: GlobalPosition) -> bool {
        let next = self.epochs.iter().find(|later| later.number > epoch);
        next.is_some_and(|next| position > next.after || next.given_up.contains(&position))
    }

    /// Whether a message carries an event that was given up.
    pub(crate) fn has_given_up(&self, headers: &HeaderMap) -> bool {
        let number = |name: &str| headers.get(name).and_then(|value| value.as_str().parse::<i64>().ok());
        // Who published before there were epochs did so in the first.
        let epoch = || number(header::EPOCH).map_or(1, |epoch| i32::try_from(epoch).unwrap_or(1));
        let position = || number(header::POSITION).map(GlobalPosition::new);
        self.epochs.len() > 1 && position().is_some_and(|position| self.is_given_up(epoch(), position))
    }

    /// Checks that the installation has the name that a process was given, or none.
    ///
    /// # Errors
    /// It has another name.
    pub fn is_named(&self, name: &str) -> Result<(), Error> {
        match self.name.as_deref() {
            None => Ok(()),
            Some(known) if name.is_empty() || known == name => Ok(()),
            Some(known) => {
                let why = format!(
                    "WRONG_INSTALLATION: this database is the one of {known:?}, and the setting database.installation says {name:?}. Is it a \
                     copy of another's? `holdfast recover --rename {name}` makes it one of its own; or mend the setting"
                );
                Err(Error::transient("comparing the database's installation with the settings", why))
            }
        }
    }

    /// Checks the same, and gives the installation that name if it has none.
    ///
    /// # Errors
    /// It has another name.
    pub(crate) async fn check_name(&self, connection: &mut PgConnection, name: &str) -> Result<(), Error> {
        self.is_named(name)?;
        if self.name.is_none() && !name.is_empty() {
            sqlx::query("update log.installation set name = $1 where name is null")
                .bind(name)
                .execute(connection)
                .await
                .map_err(|error| Error::database("naming the installation", error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Lineage {
    /// A log that has given up what was published after these positions, one epoch each.
    pub(crate) fn of(after: &[(i64, &[i64])]) -> Self {
        let epochs = (1..).zip(after).map(|(number, (after, given_up))| Epoch::of(number, *after, given_up));
        Self { installation: Uuid::from_u128(1), name: None, epochs: epochs.collect() }
    }
}

#[cfg(test)]
mod tests {
    use domain::GlobalPosition;

    use super::Lineage;

    #[test]
    fn what_an_epoch_does_not_take_over_is_given_up() {
        let lineage = Lineage::of(&[(0, &[]), (77, &[75]), (90, &[])]);
        let is_given_up = |epoch, position| lineage.is_given_up(epoch, GlobalPosition::new(position));
        let epoch_of = |position| lineage.epoch_of(GlobalPosition::new(position));
        assert_eq!([1, 77, 78, 90, 91].map(epoch_of), [1, 1, 2, 2, 3]);
        assert!(!is_given_up(1, 77) && is_given_up(1, 78) && is_given_up(1, 75));
        assert!(!is_given_up(2, 90) && is_given_up(2, 91));
        assert!(!is_given_up(3, 1_000) && !is_given_up(4, 1_000));
    }
}
