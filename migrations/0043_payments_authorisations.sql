-- Money that a provider has set aside for a payment, by what the provider knows it by: {"pi_1": {"status": "held", "amount_minor": 1200}}.
-- Null: none ever was. Old workers know nothing of it, so all of payments and orders are upgraded before a provider sets money aside.
alter table payments.payments add column authorisations jsonb;

alter table payments.reports
    drop constraint reports_kind_check,
    add constraint reports_kind_check check (kind in ('payment_succeeded', 'payment_failed', 'payment_closed',
        'payment_authorised', 'payment_voided', 'refund_succeeded', 'refund_failed'));

-- An order may wait with money that is set aside, or for that money to be taken.
alter table orders.orders
    drop constraint orders_payment_status_check,
    add constraint orders_payment_status_check check (payment_status in ('pending', 'authorised', 'capturing', 'paid', 'failed',
        'cancelled', 'voided', 'refunding', 'partially_refunded', 'refunded'));
