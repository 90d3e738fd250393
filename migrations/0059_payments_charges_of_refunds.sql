-- Of what a provider reports of a refund that fits nothing it is known which charge it is of. What was kept before says nothing of it, and is taken for
-- money of the payment's own, as it was.
alter table payments.reports add column charge_reference text not null default '';
