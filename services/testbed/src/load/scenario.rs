//! The stories of buyers: how often each happens, what the sandbox provider is told to play, and how it may end.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

/// What a buyer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Pays in time and keeps everything.
    Buys,
    /// Never pays.
    WalksAway,
    /// Pays when the time is over: the money goes back.
    PaysLate,
    /// Pays when the time is over, and the order allows for that: it is held again if it can be.
    PaysLateAndIsHeldAgain,
    /// Cancels before paying.
    ChangesMind,
    /// Is declined by the provider.
    HasNoMoney,
    /// Pays, and wants everything refunded.
    ReturnsAll,
    /// Pays, and wants a part refunded.
    ReturnsSome,
    /// Pays, wants everything refunded, and meets a provider that is busy at first.
    ReturnsAllAtABadTime,
    /// Pays, and the provider declines the refund.
    IsRefusedARefund,
}

/// What a buyer does on the provider's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// He pays, so long after he has come.
    Pays(Duration),
    /// He tries to, and his card is declined.
    IsDeclined(Duration),
}

/// Of a thousand orders, so many.
const PER_MILLE: [(u32, Scenario); 10] = [
    (615, Scenario::Buys),
    (135, Scenario::WalksAway),
    (10, Scenario::PaysLate),
    (5, Scenario::PaysLateAndIsHeldAgain),
    (95, Scenario::ChangesMind),
    (90, Scenario::HasNoMoney),
    (20, Scenario::ReturnsAll),
    (20, Scenario::ReturnsSome),
    (5, Scenario::ReturnsAllAtABadTime),
    (5, Scenario::IsRefusedARefund),
];

impl Scenario {
    /// The story for a number from 0 to 999.
    #[must_use]
    pub fn of(number: u32) -> Self {
        let mut rest = number;
        for (weight, story) in PER_MILLE {
            if rest < weight {
                return story;
            }
            rest -= weight;
        }
        Self::Buys
    }

    /// Whether the time to pay will run out.
    #[must_use]
    pub const fn pays_too_late(self) -> bool {
        matches!(self, Self::WalksAway | Self::PaysLate | Self::PaysLateAndIsHeldAgain)
    }

    /// Whether it must not depend on what becomes of a round.
    #[must_use]
    pub const fn only_lines(self) -> bool {
        matches!(self, Self::IsRefusedARefund)
    }

    /// What the sandbox plays.
    #[must_use]
    pub fn script(self, chance: &mut StdRng) -> String {
        let after = chance.random_range(20..800);
        let refund_after = chance.random_range(0..300);
        let refund = if chance.random_range(0..5) == 0 { "lose_response" } else { "succeed" };
        match self {
            Self::Buys => format!("sandbox:succeed,after={after}ms"),
            Self::WalksAway | Self::ChangesMind => "sandbox:never".to_owned(),
            Self::PaysLate | Self::PaysLateAndIsHeldAgain => format!("sandbox:late,after={after}ms"),
            Self::HasNoMoney => format!("sandbox:decline,after={after}ms"),
            Self::ReturnsAll | Self::ReturnsSome => {
                format!("sandbox:succeed,after={after}ms,refund={refund},refund_after={refund_after}ms")
            }
            Self::ReturnsAllAtABadTime => format!("sandbox:succeed,after={after}ms,refund=fail_then_succeed"),
            Self::IsRefusedARefund => format!("sandbox:succeed,after={after}ms,refund=decline"),
        }
    }

    /// What he does on a page that nobody plays for him.
    #[must_use]
    pub fn visit(self, chance: &mut StdRng) -> Option<Visit> {
        let after = Duration::from_millis(chance.random_range(20..800));
        match self {
            Self::Buys | Self::ReturnsAll | Self::ReturnsSome | Self::ReturnsAllAtABadTime | Self::IsRefusedARefund => {
                Some(Visit::Pays(after))
            }
            // Around the moment at which the page is closed.
            Self::PaysLate | Self::PaysLateAndIsHeldAgain => Some(Visit::Pays(after + Duration::from_millis(4_000))),
            Self::HasNoMoney => Some(Visit::IsDeclined(after)),
            Self::WalksAway | Self::ChangesMind => None,
        }
    }

    /// Whether an order with this story may end with this status. What was too much for the stock or a round is rejected.
    #[must_use]
    pub fn may_end(self, status: &str, in_called_off_round: bool) -> bool {
        let told = match self {
            Self::Buys | Self::IsRefusedARefund => status == "paid",
            Self::WalksAway => status == "expired",
            // Paid if the money came before the timer was done: late enough is late only for an idle fleet.
            Self::PaysLate | Self::PaysLateAndIsHeldAgain => matches!(status, "paid" | "expired"),
            Self::ChangesMind | Self::HasNoMoney => status == "cancelled",
            Self::ReturnsAll => status == "refunded",
            // A try that a killed worker took with it counts too, and then its tries may not be enough.
            Self::ReturnsAllAtABadTime => matches!(status, "refunded" | "paid"),
            Self::ReturnsSome => matches!(status, "partially_refunded" | "refunded"),
        };
        let bought = !matches!(self, Self::WalksAway | Self::ChangesMind | Self::HasNoMoney);
        told || status == "rejected"
            || (in_called_off_round && bought && matches!(status, "refunded" | "partially_refunded"))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::{PER_MILLE, Scenario};

    #[test]
    fn a_thousand_orders_are_a_thousand_stories() {
        assert_eq!(PER_MILLE.iter().map(|(weight, _)| weight).sum::<u32>(), 1_000);
        assert_eq!(
            (Scenario::of(0), Scenario::of(614), Scenario::of(615)),
            (Scenario::Buys, Scenario::Buys, Scenario::WalksAway)
        );
        assert_eq!(Scenario::of(999), Scenario::IsRefusedARefund);
    }

    #[test]
    fn the_sandbox_can_read_every_script() {
        let mut chance = StdRng::seed_from_u64(1);
        for (_, story) in PER_MILLE {
            for _ in 0..50 {
                let script = story.script(&mut chance);
                assert!(providers::sandbox::script::Script::parse(&script).is_ok(), "{script}");
            }
        }
    }

    #[test]
    fn an_order_ends_as_its_story_says_or_was_too_much() {
        assert!(Scenario::Buys.may_end("paid", false) && Scenario::Buys.may_end("rejected", false));
        assert!(!Scenario::Buys.may_end("refunded", false) && Scenario::Buys.may_end("refunded", true));
        assert!(!Scenario::WalksAway.may_end("paid", true) && !Scenario::WalksAway.may_end("refunded", true));
        assert!(!Scenario::HasNoMoney.may_end("expired", false));
    }
}
