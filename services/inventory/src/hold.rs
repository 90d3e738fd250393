//! What orders hold: all of an attempt's lines or none, closed once, returned at most as far as they were sold.
//!
//! Why it is so: services/inventory/README.md#one-event-for-all-lines-of-a-hold

use std::collections::BTreeMap;

use domain::{
    DecideError, HoldKey, Lines, RefundId, Rejection, Revised, Sku, StreamVersion,
    hold::{Request, Status, Step, step},
};

use serde::Serialize;

use crate::{
    event::{Event, StreamId},
    stock::{State, known, within_total},
};

/// What one attempt of an order holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Where it stands.
    pub status: Status,
    /// What it holds or held. Empty if it never held anything.
    pub lines: Lines,
    /// What came back of it, by refund.
    pub returns: BTreeMap<RefundId, Lines>,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Hold {
    type Revision = StreamVersion;

    fn revision(&self) -> StreamVersion {
        self.version
    }

    fn weight(&self) -> usize {
        1 + self.lines.len() + self.returns.values().map(|lines| 1 + lines.len()).sum::<usize>()
    }
}

impl Hold {
    pub(crate) const fn new(status: Status, lines: Lines) -> Self {
        Self { status, lines, returns: BTreeMap::new(), version: StreamVersion::FIRST }
    }

    /// Pieces of a product that were sold and did not come back.
    fn sold(&self, sku: &Sku) -> i64 {
        let pieces = |lines: &Lines| lines.get(sku).copied().unwrap_or(0);
        pieces(&self.lines) - self.returns.values().map(pieces).sum::<i64>()
    }
}

/// Moves a hold. `lines` are what is to be held; a commit and a release are about what is held already.
pub(crate) fn decide(state: &State, key: HoldKey, request: Request, lines: &Lines) -> Result<Vec<Event>, DecideError> {
    let hold = state.holds.get(&key);
    let held = || hold.map(|hold| hold.lines.clone()).unwrap_or_default();
    match step(hold.map(|hold| hold.status), request) {
        Step::Try => Ok(vec![match lines.iter().try_for_each(|(sku, asked)| check(state, sku, *asked)) {
            Ok(()) => Event::StockHeld { key, lines: lines.clone() },
            Err(rejection) => Event::StockRejected { key, rejection },
        }]),
        Step::Become(Status::Committed) => Ok(vec![Event::StockCommitted { key, lines: held() }]),
        Step::Become(Status::Released) => Ok(vec![Event::StockReleased { key, lines: held() }]),
        Step::Nothing => Ok(vec![]),
        Step::Become(Status::Held | Status::Rejected) | Step::Broken => {
            let status = hold.map_or("unknown", |hold| hold.status.as_str());
            Err(broken(key, format!("{request:?} was asked of a hold that is {status}")))
        }
    }
}

/// The decisive check, on locked rows.
fn check(state: &State, sku: &Sku, asked: i64) -> Result<(), Rejection> {
    let stock = known(state, sku)?;
    let available = stock.available();
    if asked > available {
        return Err(Rejection::new(
            "OUT_OF_STOCK",
            format!(
                "{asked} of product {sku} ({}) were asked for and {available} are available: order fewer, or wait \
                 until more arrive",
                stock.name
            ),
        ));
    }
    within_total(sku, "sold", stock.committed + stock.held + asked)
}

/// Takes sold pieces back. A refund proves that the order was paid: if it overtook that message, it commits first.
pub(crate) fn give_back(
    state: &State,
    key: HoldKey,
    refund: RefundId,
    lines: &Lines,
) -> Result<Vec<Event>, DecideError> {
    let mut events = decide(state, key, Request::Commit, lines)?;
    let hold = state.holds.get(&key).ok_or_else(|| broken(key, "a hold without a row".to_owned()))?;
    match hold.returns.get(&refund) {
        Some(returned) if returned == lines => return Ok(events),
        Some(_) => return Err(broken(key, format!("refund {refund} has returned other pieces already"))),
        None => {}
    }
    for (sku, back) in lines {
        let sold = hold.sold(sku);
        if *back > sold {
            return Err(broken(
                key,
                format!("refund {refund} returns {back} of product {sku}, of which {sold} are sold"),
            ));
        }
    }
    events.push(Event::StockReturned { key, refund_id: refund, lines: lines.clone() });
    Ok(events)
}

fn broken(key: HoldKey, what: String) -> DecideError {
    DecideError::Broken { stream: StreamId::Hold(key).to_string(), what }
}

#[cfg(test)]
mod tests {
    use domain::{DecideError, QUANTITY_MAX, hold::Status, spec::Spec as _};

    use crate::{
        command::Command,
        event::Event,
        stock::{
            State, TOTAL_MAX,
            spec::{given, held, lines, order, received, refund, registered, sku},
        },
    };

    fn hold(pieces: &[(&str, i64)]) -> Command {
        Command::Hold { key: order(1), lines: lines(pieces) }
    }

    fn commit() -> Command {
        Command::Commit { key: order(1) }
    }

    fn release() -> Command {
        Command::Release { key: order(1) }
    }

    fn give_back(id: u128, pieces: &[(&str, i64)]) -> Command {
        Command::Return { key: order(1), refund_id: refund(id), lines: lines(pieces) }
    }

    fn committed(pieces: &[(&str, i64)]) -> Event {
        Event::StockCommitted { key: order(1), lines: lines(pieces) }
    }

    fn released(pieces: &[(&str, i64)]) -> Event {
        Event::StockReleased { key: order(1), lines: lines(pieces) }
    }

    fn returned(id: u128, pieces: &[(&str, i64)]) -> Event {
        Event::StockReturned { key: order(1), refund_id: refund(id), lines: lines(pieces) }
    }

    /// Ten mugs and ten cups, and then this.
    fn shop(events: &[Event]) -> State {
        let stocked = [registered("mug"), registered("cup"), received("mug", 10), received("cup", 10)];
        given(&[&stocked, events].concat())
    }

    fn refused(state: &State, command: &Command, words: &[&str]) -> String {
        match state.when(command).as_deref() {
            Ok([Event::StockRejected { key, rejection }]) if *key == order(1) => {
                for word in words {
                    assert!(rejection.reason.contains(word), "{word:?} is not in {:?}", rejection.reason);
                }
                rejection.code.clone().into_owned()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn breaks(state: &State, command: &Command, word: &str) {
        match state.when(command) {
            Err(DecideError::Broken { stream, what }) => {
                assert_eq!(stream, format!("stock-{}", order(1)));
                assert!(what.contains(word), "{word:?} is not in {what:?}");
            }
            other => panic!("not broken: {other:?}"),
        }
    }

    /// On hand, held.
    fn mugs(state: &State) -> (i64, i64) {
        let stock = state.stock.get(&sku("mug")).unwrap();
        (stock.on_hand(), stock.held)
    }

    #[test]
    fn holds_all_lines_when_all_are_available() {
        let all = [("cup", 10), ("mug", 3)];
        assert_eq!(shop(&[]).when(&hold(&all)), Ok(vec![held(&all)]));
        assert_eq!(mugs(&shop(&[held(&all)])), (10, 3));
    }

    #[test]
    fn refuses_all_lines_when_one_is_short() {
        let state = shop(&[]);
        let command = hold(&[("cup", 1), ("mug", 11)]);
        assert_eq!(refused(&state, &command, &["mug", "MUG", "11 of", "10 are available"]), "OUT_OF_STOCK");
    }

    #[test]
    fn refuses_what_others_hold() {
        let others = Event::StockHeld { key: order(2), lines: lines(&[("mug", 8)]) };
        assert_eq!(refused(&shop(&[others]), &hold(&[("mug", 3)]), &["3 of", "2 are available"]), "OUT_OF_STOCK");
    }

    #[test]
    fn refuses_an_order_for_an_unknown_product() {
        assert_eq!(refused(&shop(&[]), &hold(&[("cup", 1), ("jug", 1)]), &["jug"]), "UNKNOWN_PRODUCT");
    }

    #[test]
    fn refuses_a_hold_that_could_be_sold_beyond_the_largest_total() {
        let mut state = shop(&[]);
        let stock = state.stock.change(&sku("mug")).unwrap();
        (stock.committed, stock.returned) = (TOTAL_MAX - 2 * QUANTITY_MAX, TOTAL_MAX - 2 * QUANTITY_MAX);
        (stock.received, stock.held) = (3 * QUANTITY_MAX, QUANTITY_MAX);
        assert_eq!(refused(&state, &hold(&[("mug", QUANTITY_MAX + 1)]), &["mug", "sold"]), "TOTAL_TOO_LARGE");
        assert_eq!(state.when(&hold(&[("mug", QUANTITY_MAX)])), Ok(vec![held(&[("mug", QUANTITY_MAX)])]));
    }

    #[test]
    fn a_refused_hold_stays_refused_when_stock_arrives() {
        let rejection = domain::Rejection::new("OUT_OF_STOCK", "none");
        let state = shop(&[Event::StockRejected { key: order(1), rejection }, received("mug", 90)]);
        assert_eq!(state.when(&hold(&[("mug", 50)])), Ok(vec![]));
        assert_eq!(state.when(&release()), Ok(vec![]));
        breaks(&state, &commit(), "rejected");
    }

    #[test]
    fn a_hold_asked_again_changes_nothing() {
        assert_eq!(shop(&[held(&[("mug", 3)])]).when(&hold(&[("mug", 3)])), Ok(vec![]));
    }

    #[test]
    fn each_attempt_has_its_own_hold() {
        let state = shop(&[held(&[("mug", 3)]), released(&[("mug", 3)])]);
        let again = Command::Hold { key: order(2), lines: lines(&[("mug", 3)]) };
        let held_again = Event::StockHeld { key: order(2), lines: lines(&[("mug", 3)]) };
        assert_eq!(state.when(&again), Ok(vec![held_again]));
    }

    #[test]
    fn a_paid_order_takes_what_it_held() {
        let all = [("cup", 1), ("mug", 3)];
        assert_eq!(shop(&[held(&all)]).when(&commit()), Ok(vec![committed(&all)]));
        let state = shop(&[held(&all), committed(&all)]);
        assert_eq!(mugs(&state), (7, 0));
        assert_eq!(state.when(&commit()), Ok(vec![]));
    }

    #[test]
    fn a_closed_order_frees_what_it_held() {
        let all = [("cup", 1), ("mug", 3)];
        assert_eq!(shop(&[held(&all)]).when(&release()), Ok(vec![released(&all)]));
        let state = shop(&[held(&all), released(&all)]);
        assert_eq!(mugs(&state), (10, 0));
        assert_eq!(state.when(&release()), Ok(vec![]));
    }

    #[test]
    fn a_release_before_the_hold_makes_the_late_hold_do_nothing() {
        assert_eq!(shop(&[]).when(&release()), Ok(vec![released(&[])]));
        let state = shop(&[released(&[])]);
        assert_eq!(state.holds.get(&order(1)).unwrap().status, Status::Released);
        assert_eq!(state.when(&hold(&[("mug", 3)])), Ok(vec![]));
    }

    #[test]
    fn a_hold_that_is_closed_is_not_closed_the_other_way() {
        breaks(&shop(&[held(&[("mug", 3)]), committed(&[("mug", 3)])]), &release(), "committed");
        breaks(&shop(&[held(&[("mug", 3)]), released(&[("mug", 3)])]), &commit(), "released");
    }

    #[test]
    fn a_commit_of_what_was_never_held_is_broken() {
        breaks(&shop(&[]), &commit(), "unknown");
    }

    #[test]
    fn a_refund_returns_sold_pieces_once() {
        let state = shop(&[held(&[("mug", 3)]), committed(&[("mug", 3)])]);
        assert_eq!(state.when(&give_back(1, &[("mug", 2)])), Ok(vec![returned(1, &[("mug", 2)])]));
        let state = shop(&[held(&[("mug", 3)]), committed(&[("mug", 3)]), returned(1, &[("mug", 2)])]);
        assert_eq!(mugs(&state), (9, 0));
        assert_eq!(state.when(&give_back(1, &[("mug", 2)])), Ok(vec![]));
        assert_eq!(state.when(&give_back(2, &[("mug", 1)])), Ok(vec![returned(2, &[("mug", 1)])]));
    }

    #[test]
    fn a_refund_that_overtakes_the_payment_commits_first() {
        let state = shop(&[held(&[("mug", 3)])]);
        let events = [committed(&[("mug", 3)]), returned(1, &[("mug", 3)])];
        assert_eq!(state.when(&give_back(1, &[("mug", 3)])), Ok(events.to_vec()));
        let state = shop(&[held(&[("mug", 3)]), events[0].clone(), events[1].clone()]);
        assert_eq!(mugs(&state), (10, 0));
        assert_eq!(state.when(&commit()), Ok(vec![]));
    }

    #[test]
    fn refunds_never_return_more_than_was_sold() {
        let state = shop(&[held(&[("mug", 3)]), committed(&[("mug", 3)]), returned(1, &[("mug", 2)])]);
        breaks(&state, &give_back(2, &[("mug", 2)]), "returns 2 of product mug, of which 1 are sold");
        breaks(&state, &give_back(2, &[("cup", 1)]), "returns 1 of product cup, of which 0 are sold");
    }

    #[test]
    fn a_refund_returns_the_same_pieces_for_ever() {
        let state = shop(&[held(&[("mug", 3)]), committed(&[("mug", 3)]), returned(1, &[("mug", 1)])]);
        breaks(&state, &give_back(1, &[("mug", 2)]), "other pieces");
    }

    #[test]
    fn a_refund_of_what_was_not_sold_is_broken() {
        breaks(&shop(&[held(&[("mug", 3)]), released(&[("mug", 3)])]), &give_back(1, &[("mug", 1)]), "released");
        breaks(&shop(&[]), &give_back(1, &[("mug", 1)]), "unknown");
    }
}
