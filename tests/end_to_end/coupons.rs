//! Coupons: the buyer pays exactly what is left, a use is held by one order at a time, and no limit is ever passed.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet, code, is_accepted, money, pieces};
use proto::payments::v1::{CloseCoupon, CouponOffer};

fn fixed(cents: i64) -> CouponOffer {
    CouponOffer { fixed: Some(money(cents)), ..CouponOffer::default() }
}

fn percent(percent: i32) -> CouponOffer {
    CouponOffer { basis_points: percent * 100, ..CouponOffer::default() }
}

#[tokio::test]
async fn the_buyer_pays_the_total_without_the_discount_and_the_use_is_redeemed() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("mug", 10).await.unwrap();
    fleet.coupon("SPRING", fixed(250)).await.unwrap();
    let order = Order::new(1).line("mug", 1).coupon(" spring ");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until("select redeemed from payments.coupons", 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.status(&order).await.unwrap(), "paid");
    assert_eq!(fleet.number("select captured_minor from payments.payments").await.unwrap(), 750);
    assert_eq!(fleet.number("select amount_minor from payments.payments").await.unwrap(), 750);
}
