//! The sandbox provider's own ledger, if there is one: money moved once a refund, and where we believe that it did.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use domain::{RefundId, written};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ledger::{
        promises::Grace,
        refunds::{Refunds, Sent, Standing, refund_name},
    },
    report::{Check, Findings},
};

/// What the sandbox knows of one refund, all its keys together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    /// Keys under which its money is with the buyer.
    refunded: usize,
    /// Keys under which its money was paid out and came back.
    failed: usize,
    /// Of those that are with the buyer: how long after its payout a key fails, if by its script it does.
    fails_after: Option<Duration>,
    amount_minor: i64,
}

/// Compares the sandbox's ledger with the refunds.
pub(crate) async fn check(
    connection: &mut PgConnection,
    refunds: &Refunds,
    grace: Grace,
    findings: &mut Findings,
) -> Result<()> {
    let there: bool = sqlx::query_scalar("select to_regclass('payments.sandbox_refunds') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(());
    }
    let known = read(connection).await.context("reading payments.sandbox_refunds")?;
    findings.checked(Check::Provider, known.len());
    let sent = refunds.sent();
    for (refund_id, known) in &known {
        let refund = sent.get(refund_id);
        if let Some(what) = wrong(known, refund, grace) {
            findings.add(Check::Provider, refund_name(*refund_id), what, refund.map(|refund| refund.since.position));
        }
    }
    let unknown = sent.iter().filter(|(refund_id, refund)| {
        let by_sandbox = refund.by_sandbox && !refund.by_hand;
        refund.standing == Standing::Refunded && by_sandbox && !known.contains_key(refund_id)
    });
    for (refund_id, refund) in unknown {
        let what = "it counts as refunded, and the provider never heard of it".to_owned();
        findings.add(Check::Provider, refund_name(*refund_id), what, Some(refund.since.position));
    }
    Ok(())
}

async fn read(connection: &mut PgConnection) -> Result<BTreeMap<RefundId, Known>, sqlx::Error> {
    let query = "select refund_id, status, amount_minor, fails_after_ms from payments.sandbox_refunds
        where status in ('refunded', 'failed')";
    let rows: Vec<(Uuid, String, i64, Option<i64>)> = sqlx::query_as(query).fetch_all(connection).await?;
    let mut known: BTreeMap<RefundId, Known> = BTreeMap::new();
    for (refund_id, status, amount_minor, fails_after_ms) in rows {
        let of = known.entry(RefundId(refund_id)).or_default();
        of.amount_minor = amount_minor;
        if status == "failed" {
            of.failed += 1;
        }
        if status == "refunded" {
            of.refunded += 1;
        }
        of.fails_after = of.fails_after.max(fails_after_ms.map(|ms| Duration::from_millis(ms.unsigned_abs())));
    }
    Ok(known)
}

/// What does not agree. The provider may be ahead of us: its call ends before ours is committed.
fn wrong(known: &Known, refund: Option<&Sent>, grace: Grace) -> Option<String> {
    let Some(refund) = refund else {
        return Some("the provider paid it out, and no order asked for it".to_owned());
    };
    if known.refunded > 1 {
        return Some(format!("the provider paid it out under {} keys", known.refunded));
    }
    if i128::from(known.amount_minor) != refund.minor {
        let (paid_out, due) = (written(known.amount_minor, &refund.currency), written(refund.minor, &refund.currency));
        return Some(format!("the provider paid out {paid_out} of {due}"));
    }
    match refund.standing {
        // The news that it failed later may be on its way.
        Standing::Refunded if known.refunded == 0 && !refund.by_hand => {
            let heard = refund.since.at + known.fails_after.unwrap_or_default();
            (grace.now.since(heard) > grace.grace)
                .then(|| "it counts as refunded, and at the provider it failed".to_owned())
        }
        Standing::Asked | Standing::Rejected if known.refunded > 0 => {
            Some("it counts as not refunded, and the provider paid it out".to_owned())
        }
        Standing::Reversed if known.refunded > 0 => {
            Some("it counts as taken back, and at the provider the buyer has the money".to_owned())
        }
        Standing::Asked
        | Standing::Deferred
        | Standing::UnderWay
        | Standing::Refunded
        | Standing::Rejected
        | Standing::Unknown
        | Standing::Reversed => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{GlobalPosition, Timestamp};

    use super::{Grace, Known, Sent, Standing, wrong};
    use crate::ledger::Moment;

    const GRACE: Grace = Grace { now: Timestamp::from_micros(100_000_000), grace: Duration::from_secs(30) };

    fn refund(standing: Standing) -> Sent {
        Sent {
            minor: 500,
            currency: "EUR".to_owned(),
            standing,
            by_hand: false,
            since: Moment { position: GlobalPosition::new(1), at: Timestamp::from_micros(50_000_000) },
            by_sandbox: true,
        }
    }

    fn known(refunded: usize, failed: usize) -> Known {
        Known { refunded, failed, fails_after: None, amount_minor: 500 }
    }

    #[test]
    fn the_provider_may_be_ahead_of_us() {
        for standing in [Standing::UnderWay, Standing::Unknown, Standing::Refunded] {
            assert_eq!(wrong(&known(1, 0), Some(&refund(standing)), GRACE), None);
        }
    }

    #[test]
    fn money_moves_once() {
        assert!(wrong(&known(2, 0), Some(&refund(Standing::Refunded)), GRACE).unwrap().contains("2 keys"));
        // A second sending after the first came back is no second payout.
        assert_eq!(wrong(&known(1, 1), Some(&refund(Standing::Refunded)), GRACE), None);
    }

    #[test]
    fn what_we_believe_is_what_the_provider_did() {
        assert!(wrong(&known(1, 0), Some(&refund(Standing::Rejected)), GRACE).is_some());
        assert!(wrong(&known(1, 0), Some(&refund(Standing::Reversed)), GRACE).is_some());
        assert!(wrong(&known(1, 0), None, GRACE).is_some());
        assert!(wrong(&Known { amount_minor: 499, ..known(1, 0) }, Some(&refund(Standing::Refunded)), GRACE).is_some());
    }

    #[test]
    fn a_failure_that_comes_later_has_its_grace() {
        assert!(wrong(&known(0, 1), Some(&refund(Standing::Refunded)), GRACE).is_some());
        let later = Known { fails_after: Some(Duration::from_secs(25)), ..known(0, 1) };
        assert_eq!(wrong(&later, Some(&refund(Standing::Refunded)), GRACE), None);
        let by_hand = Sent { by_hand: true, ..refund(Standing::Refunded) };
        assert_eq!(wrong(&known(0, 1), Some(&by_hand), GRACE), None);
    }
}
