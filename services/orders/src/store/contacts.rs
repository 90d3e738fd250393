//! Where buyers are reached, beside the rows: only written, together with the order. Whoever forgets one deletes its row.

use platform::{database::column, statement::Statement};

use crate::order::State;

const CREATE: &str =
    "insert into orders.contacts (order_id, email) select * from unnest($1::uuid[], $2::text[]) returning 1";

/// Adds what saves them. Most orders have none, and then the statement has nothing of it.
pub(super) fn save(statement: &mut Statement, state: &State) {
    if state.contacts.is_empty() {
        return;
    }
    let contacts: Vec<_> = state.contacts.iter().collect();
    statement
        .counted("contacts_created", contacts.len(), CREATE)
        .bind(column(&contacts, |(order_id, _)| order_id.0))
        .bind(column(&contacts, |(_, contact)| contact.as_str()));
}

#[cfg(test)]
mod tests {
    use domain::{ContactEmail, OrderId};
    use platform::statement::Statement;
    use uuid::Uuid;

    use super::save;
    use crate::order::State;

    /// Orders are placed thousands of times a second, most of them without an address.
    #[test]
    fn without_an_address_the_statement_is_what_it_was() {
        let (mut without, mut with) = (Statement::default(), Statement::default());
        save(&mut without, &State::default());
        assert!(without.is_empty());
        let mut state = State::default();
        let contact = ContactEmail::parse_optional("ann@shop.example").unwrap().unwrap();
        state.contacts.insert(OrderId(Uuid::from_u128(1)), contact);
        save(&mut with, &state);
        assert!(!with.is_empty());
    }
}
