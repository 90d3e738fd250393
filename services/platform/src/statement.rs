//! One statement that writes to several tables, all of it or nothing: one round trip to Postgres, in a transaction of its own or in a larger one.
//!
//! Why it is so: services/runtime/README.md#two-round-trips-for-a-batch

use sqlx::{Arguments as _, AssertSqlSafe, Encode, PgConnection, Postgres, Type, postgres::PgArguments};

/// A statement in the making. Its parts see the tables as they were before it, so no two of them may write to the same row.
#[derive(Debug, Default)]
pub struct Statement {
    /// `a as (…), b as (…)`.
    parts: String,
    /// What has to be so, of the parts that count their rows among others: `(select count(*) from a) = $7 and …`.
    demands: String,
    arguments: PgArguments,
    unreadable: Option<sqlx::Error>,
}

/// A statement with all its values, ready to be sent.
#[derive(Debug)]
pub struct CompleteStatement {
    sql: String,
    arguments: PgArguments,
}

/// Takes the values of one part, in order.
#[derive(Debug)]
pub struct Values<'a>(&'a mut Statement);

impl Statement {
    /// Adds a part: SQL whose placeholders begin at `$1`. A part that nobody selects from is done after all that are.
    pub fn part(&mut self, name: &str, sql: &str) -> Values<'_> {
        let sql = self.numbered(sql);
        self.push(name, &sql);
        Values(self)
    }

    /// Adds a part that is to write so many rows, and returns one for each. Where it finds fewer, somebody has changed or removed
    /// some since they were read, and nothing of the statement is done. Such parts are done first, in the order in which they are added.
    pub fn counted(&mut self, name: &str, rows: usize, sql: &str) -> Values<'_> {
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        self.add(count);
        let place = self.arguments.len();
        let count = format!("(select count(*) from {name}) = ${place}");
        self.demand(&count);
        self.part(name, sql)
    }

    /// Adds what has to be so, or nothing of the statement is done: SQL that is true or false, whose placeholders begin at `$1`.
    pub fn requires(&mut self, sql: &str) -> Values<'_> {
        let sql = self.numbered(sql);
        self.demand(&sql);
        Values(self)
    }

    /// Adds a part that has one row, 0, or what this SQL comes to where a counted part did not write all that it was to
    /// write, or something is not so that is required. Whatever is not to be done then selects from it.
    pub fn unless_complete(&mut self, name: &str, sql: &str) {
        let is_complete = if self.demands.is_empty() { "true" } else { &self.demands };
        let sql = format!("select case when {is_complete} then 0 else {sql} end");
        self.push(name, &sql);
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Completes it, with this as what it does in the end: SQL whose placeholders begin at `$1`, for these values, and that returns numbers.
    ///
    /// # Errors
    /// A value cannot be sent.
    pub fn complete(
        mut self,
        last: &str,
        values: impl FnOnce(&mut Values<'_>),
    ) -> Result<CompleteStatement, sqlx::Error> {
        let last = self.numbered(last);
        values(&mut Values(&mut self));
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        let with = if self.parts.is_empty() { "" } else { "with " };
        Ok(CompleteStatement { sql: format!("{with}{} {last}", self.parts), arguments: self.arguments })
    }

    fn demand(&mut self, sql: &str) {
        if !self.demands.is_empty() {
            self.demands.push_str(" and ");
        }
        self.demands.push_str(sql);
    }

    fn push(&mut self, name: &str, sql: &str) {
        let comma = if self.parts.is_empty() { "" } else { ", " };
        for text in [comma, name, " as materialized (", sql, ")"] {
            self.parts.push_str(text);
        }
    }

    /// The SQL of a part, with its placeholders after those of the parts before it.
    fn numbered(&self, sql: &str) -> String {
        let before = self.arguments.len();
        let mut numbered = String::with_capacity(sql.len() + 32);
        let mut pieces = sql.split('$');
        numbered.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digits = piece.len() - piece.trim_start_matches(|character: char| character.is_ascii_digit()).len();
            let (number, rest) = piece.split_at(digits);
            let place = number.parse::<usize>().map_or(String::new(), |number| (before + number).to_string());
            for text in ["$", &place, rest] {
                numbered.push_str(text);
            }
        }
        numbered
    }

    fn add<'v>(&mut self, value: impl Encode<'v, Postgres> + Type<Postgres>) {
        if let Err(error) = self.arguments.add(value) {
            self.unreadable.get_or_insert(sqlx::Error::Encode(error));
        }
    }
}

impl CompleteStatement {
    /// Runs it, and returns the numbers that it returns.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn run(self, connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
        sqlx::query_scalar_with(AssertSqlSafe(self.sql), self.arguments).fetch_all(connection).await
    }
}

impl Values<'_> {
    /// The value of the next placeholder.
    pub fn bind<'v>(&mut self, value: impl Encode<'v, Postgres> + Type<Postgres>) -> &mut Self {
        self.0.add(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Statement;

    #[test]
    fn placeholders_of_a_part_come_after_those_of_the_parts_before_it() {
        let mut statement = Statement::default();
        assert!(statement.is_empty());
        statement.part("a", "select $2, $1, '$'").bind(1).bind(2);
        statement.counted("b", 7, "update t set x = $1 where y = $2 returning $1").bind(3).bind(4);
        statement.counted("c", 8, "delete from t where z = $1 returning 1").bind(5);
        statement.requires("(select max(id) from u) = $1").bind(6);
        statement.unless_complete("d", "refuse()");
        assert_eq!(
            statement.parts,
            "a as materialized (select $2, $1, '$'), \
             b as materialized (update t set x = $4 where y = $5 returning $4), \
             c as materialized (delete from t where z = $7 returning 1), \
             d as materialized (select case when (select count(*) from b) = $3 and (select count(*) from c) = $6 \
             and (select max(id) from u) = $8 then 0 else refuse() end)"
        );
    }
}
