-- What a dry run of a command about coupons or money reads besides.
grant select on payments.coupon_customers, payments.funds to holdfast_gateway;
