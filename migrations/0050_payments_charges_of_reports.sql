-- Charges that fitted nothing, a second one or one over another amount, are found by what their provider knows them by, as those that count are.
insert into payments.charges (provider, reference, payment_id)
    select p.provider, r.provider_reference, r.payment_id
    from payments.reports r join payments.payments p using (payment_id)
    where r.kind = 'payment_succeeded' and r.provider_reference <> '' and p.page is not null and p.provider is not null
    on conflict do nothing;
