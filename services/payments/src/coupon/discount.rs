//! What a coupon takes off an order, and off each of its lines: whole minor units that add up.

use domain::{CouponCode, Discount, Money, Rejection};

use super::{Off, Offer, Purchase};

/// What the coupon takes off.
///
/// # Errors
/// The order is in another currency, or has nothing that the coupon is for, or too little of it.
pub(crate) fn discount(code: &CouponCode, offer: &Offer, wanted: &Purchase) -> Result<Discount, Rejection> {
    let currency = offer.currency;
    if wanted.currency != currency {
        let reason = format!("coupon {code} is for orders in {currency}, and this one is in {}", wanted.currency);
        return Err(Rejection::new("WRONG_CURRENCY", reason));
    }
    let is_for = |line: &super::Item| offer.skus.is_empty() || offer.skus.contains(&line.sku);
    // In the order of the lines; what the coupon is not for counts nothing. Last the shares.
    let lines = wanted.lines.iter().map(|line| if is_for(line) { line.price } else { 0 });
    let prices: Vec<i64> = lines.chain([if offer.skus.is_empty() { wanted.shares } else { 0 }]).collect();
    let price: i64 = prices.iter().sum();
    if let Some(least) = offer.spend_min.filter(|least| price < *least) {
        let (least, price) = (Money { minor_units: least, currency }, Money { minor_units: price, currency });
        let reason = format!("coupon {code} asks for {least} at least of what it is for, and that costs {price}");
        return Err(Rejection::new("COUPON_SPEND_TOO_SMALL", reason));
    }
    let minor_units = taken_off(offer, price);
    if minor_units < 1 {
        let reason = format!("coupon {code} takes nothing off this order: order without it");
        return Err(Rejection::new("COUPON_NOT_FOR_ORDER", reason));
    }
    let mut lines = shared(minor_units, &prices);
    let shares = lines.pop().unwrap_or_default();
    Ok(Discount { amount: Money { minor_units, currency }, lines, shares })
}

/// What is taken off this price: never more than all of it.
fn taken_off(offer: &Offer, price: i64) -> i64 {
    let off = match offer.off {
        Off::BasisPoints(points) => part(price, i64::from(points), 10_000).0,
        Off::Fixed(minor_units) => minor_units,
    };
    off.min(offer.discount_max.unwrap_or(i64::MAX)).min(price)
}

/// Shares an amount over prices, in proportion, by the largest remainder: the whole units that are over go one by one to those whose share
/// was cut most, the first of equals first. The amount is at most the sum of the prices, so no share is above its price.
fn shared(amount: i64, prices: &[i64]) -> Vec<i64> {
    let sum = prices.iter().sum();
    let parts: Vec<(i64, i128)> = prices.iter().map(|price| part(amount, *price, sum)).collect();
    let over = amount - parts.iter().map(|(share, _)| share).sum::<i64>();
    let mut by_remainder: Vec<(usize, i128)> = parts.iter().map(|(_, remainder)| *remainder).enumerate().collect();
    // Stable: of equals the first stays first.
    by_remainder.sort_by_key(|(_, remainder)| std::cmp::Reverse(*remainder));
    let gets_one = usize::try_from(over).unwrap_or(0);
    let more: std::collections::BTreeSet<usize> = by_remainder.into_iter().take(gets_one).map(|(at, _)| at).collect();
    parts.into_iter().enumerate().map(|(at, (share, _))| share + i64::from(more.contains(&at))).collect()
}

/// `whole * of / in_all` in whole units, and what is over, in parts of a unit. `of` is at most `in_all`, so the result is at most `whole`.
fn part(whole: i64, of: i64, in_all: i64) -> (i64, i128) {
    let (product, in_all) = (i128::from(whole) * i128::from(of), i128::from(in_all).max(1));
    (i64::try_from(product / in_all).unwrap_or(whole), product % in_all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{part, shared};

    #[test]
    fn what_is_over_goes_to_whom_most_was_cut_from() {
        assert_eq!(shared(100, &[100, 100, 100]), [34, 33, 33]);
        assert_eq!(shared(2, &[1, 0, 1, 1]), [1, 0, 1, 0]);
        assert_eq!(shared(10, &[999, 1]), [10, 0]);
        assert_eq!(shared(1_000, &[999, 1]), [999, 1]);
        assert_eq!(shared(0, &[5, 0]), [0, 0]);
        assert_eq!(shared(0, &[]), [0_i64; 0]);
    }

    #[test]
    fn a_percentage_is_cut_to_whole_units() {
        assert_eq!(part(999, 1_250, 10_000), (124, 8_750));
        assert_eq!(part(1_000_000_000_000, 10_000, 10_000), (1_000_000_000_000, 0));
        assert_eq!(part(1, 9_999, 10_000).0, 0);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_above_its_price_or_a_unit_away_from_its_due(
            prices in prop::collection::vec(0..1_000_000_000_000_i64, 1..50),
            share in 0..=10_000_i64,
        ) {
            let sum: i64 = prices.iter().sum();
            let amount = part(sum, share, 10_000).0;
            let shares = shared(amount, &prices);
            prop_assert_eq!(shares.iter().sum::<i64>(), amount);
            for (got, price) in shares.iter().zip(&prices) {
                let due = part(amount, *price, sum).0;
                prop_assert!((0..=*price).contains(got) && (due..=due + 1).contains(got), "{} of {}", got, price);
            }
        }
    }
}
