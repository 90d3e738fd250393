//! The book of pieces: every product's totals, and what every attempt of an order holds of them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{HoldKey, Lines, RefundId, Sku, decode, hold::Status, lines_from_wire};
use proto::{Name, inventory::v1 as wire};
use serde::{Deserialize, Serialize};

use super::{
    Moment, Unbooked,
    keys::{Keys, move_each},
    orders::Orders,
    stock_name,
};
use crate::report::{Check, Findings};

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    pub(crate) products: BTreeMap<Sku, Product>,
    pub(crate) holds: BTreeMap<HoldKey, Hold>,
}

/// A product's totals. Wide enough that no sum of wrong events overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) received: i128,
    pub(crate) adjusted: i128,
    pub(crate) committed: i128,
    pub(crate) returned: i128,
    pub(crate) held: i128,
    /// Whether a breach was told already.
    breached: bool,
}

/// What one attempt holds.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) status: Status,
    pub(crate) lines: Lines,
    returned: Lines,
    refunds: BTreeSet<RefundId>,
    /// When it came to stand so.
    pub(crate) since: Moment,
}

impl Product {
    pub(crate) const fn on_hand(&self) -> i128 {
        self.received + self.adjusted - self.committed + self.returned
    }

    /// What is out of balance.
    fn breach(&self) -> Option<String> {
        let (on_hand, held) = (self.on_hand(), self.held);
        if held < 0 || held > on_hand {
            return Some(format!("{held} are held of {on_hand} on hand"));
        }
        (self.returned > self.committed).then(|| format!("{} came back of {} sold", self.returned, self.committed))
    }
}

impl Stock {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.holds, &mut other.holds, &keys.holds);
    }

    pub(crate) fn standing(&self, key: HoldKey) -> Option<Status> {
        self.holds.get(&key).map(|hold| hold.status)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::ProductRegistered::NAME => {
                let wire::ProductRegistered { sku, .. } = decode(data)?;
                if self.products.insert(Sku::parse(&sku)?, Product::default()).is_some() {
                    findings.add(Check::Stock, product(&sku), "it was registered twice".to_owned(), Some(at.position));
                }
                Ok(())
            }
            wire::StockReceived::NAME => {
                let wire::StockReceived { sku, quantity, .. } = decode(data)?;
                self.change(&Sku::parse(&sku)?, at, findings, |product| product.received += i128::from(quantity));
                Ok(())
            }
            wire::StockAdjusted::NAME => {
                let wire::StockAdjusted { sku, delta, .. } = decode(data)?;
                self.change(&Sku::parse(&sku)?, at, findings, |product| product.adjusted += i128::from(delta));
                Ok(())
            }
            wire::StockHeld::NAME => {
                let wire::StockHeld { order_id, attempt, lines } = decode(data)?;
                let (key, lines) = (HoldKey::parse(&order_id, attempt)?, lines_from_wire(&lines)?);
                if let Some(what) = orders.contradicts_stock(key, &lines) {
                    findings.add(Check::Stock, stock_name(key), what, Some(at.position));
                }
                self.begin(key, Status::Held, lines, at, findings);
                Ok(())
            }
            wire::StockRejected::NAME => {
                let wire::StockRejected { order_id, attempt, .. } = decode(data)?;
                self.begin(HoldKey::parse(&order_id, attempt)?, Status::Rejected, Lines::new(), at, findings);
                Ok(())
            }
            wire::StockCommitted::NAME => {
                let wire::StockCommitted { order_id, attempt, lines } = decode(data)?;
                self.end(
                    HoldKey::parse(&order_id, attempt)?,
                    Status::Committed,
                    &lines_from_wire(&lines)?,
                    at,
                    findings,
                );
                Ok(())
            }
            wire::StockReleased::NAME => {
                let wire::StockReleased { order_id, attempt, lines } = decode(data)?;
                self.end(
                    HoldKey::parse(&order_id, attempt)?,
                    Status::Released,
                    &lines_from_wire(&lines)?,
                    at,
                    findings,
                );
                Ok(())
            }
            wire::StockReturned::NAME => {
                let wire::StockReturned { order_id, attempt, refund_id, lines } = decode(data)?;
                let (key, refund_id) = (HoldKey::parse(&order_id, attempt)?, RefundId::parse(&refund_id)?);
                self.take_back(key, refund_id, &lines_from_wire(&lines)?, at, findings);
                Ok(())
            }
            _ => Err(Unbooked::Unknown { book: "stock" }),
        }
    }

    fn change(&mut self, sku: &Sku, at: Moment, findings: &mut Findings, change: impl FnOnce(&mut Product)) {
        let Some(known) = self.products.get_mut(sku) else {
            let what = "its stock changed before it was registered".to_owned();
            return findings.add(Check::Stock, product(sku.as_str()), what, Some(at.position));
        };
        change(known);
        if let Some(what) = known.breach().filter(|_| !known.breached) {
            known.breached = true;
            findings.add(Check::Stock, product(sku.as_str()), what, Some(at.position));
        }
    }

    fn change_all(&mut self, lines: &Lines, at: Moment, findings: &mut Findings, change: impl Fn(&mut Product, i128)) {
        for (sku, quantity) in lines {
            self.change(sku, at, findings, |product| change(product, i128::from(*quantity)));
        }
    }

    fn begin(&mut self, key: HoldKey, status: Status, lines: Lines, at: Moment, findings: &mut Findings) {
        if let Some(hold) = self.holds.get(&key) {
            let what = format!("it is {} although it is {} already", status.as_str(), hold.status.as_str());
            return findings.add(Check::Stock, stock_name(key), what, Some(at.position));
        }
        self.change_all(&lines, at, findings, |product, quantity| product.held += quantity);
        self.holds.insert(key, Hold::new(status, lines, at));
    }

    fn end(&mut self, key: HoldKey, status: Status, lines: &Lines, at: Moment, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Stock, stock_name(key), what, Some(at.position));
        match self.holds.get_mut(&key) {
            Some(hold) if hold.status == Status::Held && hold.lines == *lines => {
                hold.status = status;
                hold.since = at;
            }
            Some(hold) if hold.status == Status::Held => {
                return wrong("it ends with other lines than it held".to_owned());
            }
            Some(hold) => return wrong(format!("it is {} although it is {}", status.as_str(), hold.status.as_str())),
            // Released before it came: from now on it holds nothing.
            None if status == Status::Released && lines.is_empty() => {
                self.holds.insert(key, Hold::new(status, Lines::new(), at));
                return;
            }
            None => return wrong(format!("it is {} although nothing was held", status.as_str())),
        }
        self.change_all(lines, at, findings, |product, quantity| {
            product.held -= quantity;
            if status == Status::Committed {
                product.committed += quantity;
            }
        });
    }

    fn take_back(&mut self, key: HoldKey, refund_id: RefundId, lines: &Lines, at: Moment, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Stock, stock_name(key), what, Some(at.position));
        let Some(hold) = self.holds.get_mut(&key).filter(|hold| hold.status == Status::Committed) else {
            return wrong("pieces came back that were not sold".to_owned());
        };
        if !hold.refunds.insert(refund_id) {
            wrong(format!("refund {refund_id} brought pieces back twice"));
        }
        for (sku, quantity) in lines {
            let back = hold.returned.entry(sku.clone()).or_insert(0);
            *back += quantity;
            let sold = hold.lines.get(sku).copied().unwrap_or(0);
            if *back > sold {
                wrong(format!("{back} of product {sku} came back of {sold} sold"));
            }
        }
        self.change_all(lines, at, findings, |product, quantity| product.returned += quantity);
    }
}

impl Hold {
    fn new(status: Status, lines: Lines, since: Moment) -> Self {
        Self { status, lines, returned: Lines::new(), refunds: BTreeSet::new(), since }
    }
}

fn product(sku: &str) -> String {
    format!("product-{sku}")
}
