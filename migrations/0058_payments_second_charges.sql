-- A second charge of a payment goes back by itself, as a refund of its own. Workers of before do not know the word: they refuse such a payment until they
-- are upgraded, and do not count its refund as money of the payment.
alter table payments.refunds
    -- What the provider knows the second charge by that it gives back. Null: it gives back money of the payment's own.
    add column second_charge text;

alter table payments.reports
    drop constraint reports_standing_check,
    add constraint reports_standing_check check (standing in ('noted', 'open', 'returning', 'accepted', 'undone'));
