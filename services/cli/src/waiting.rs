//! What waits for a person, as a table.

use audit::waiting::{Item, Waiting};
use domain::written;
use platform::print::{Cell, Look, Paint, Table};

/// A row each, and what decides it.
pub(crate) fn text(waiting: &Waiting, paint: Paint) -> String {
    let mut table = Table::default();
    for Item { what, subject, reference, id, amount_minor, currency, reason, .. } in &waiting.items {
        let money = amount_minor.map_or_else(String::new, |minor| written(minor, currency));
        table.row([
            Cell::new(what, Look::Bad),
            reference.as_ref().map_or_else(|| subject.clone(), |reference| format!("{subject} {reference}")).into(),
            id.as_str().into(),
            money.into(),
            Cell::new(reason.chars().take(80).collect::<String>(), Look::Dim),
        ]);
    }
    if waiting.items.is_empty() {
        table.row([Cell::new("nothing", Look::Dim)]);
        return table.text(paint);
    }
    let mut text = table.text(paint);
    let named = i64::try_from(waiting.items.len()).unwrap_or(i64::MAX);
    if waiting.total > named {
        text.push_str(&format!("... {named} of {}\n", waiting.total));
    }
    let help = "reports and refunds: holdfast resolve; disputes: answer them at the provider; calls: see what the provider says; orders: RequestRefund, or CancelOrder again";
    text + &paint.text(help, Look::Dim) + "\n"
}
