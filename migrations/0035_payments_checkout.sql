-- Pages that the provider is called for, to open them and to close them.
alter table payments.payments
    -- Null: nobody was asked, or the provider need not be called.
    add column page text check (page in ('opening', 'open', 'closing', 'closed', 'failed')),
    -- Where the buyer pays; empty before it was opened.
    add column page_url text,
    add constraint a_page_has_its_link check ((page is null) = (page_url is null)),
    add constraint a_page_is_of_what_was_asked check (page is null or amount_minor is not null);

-- Payments by what their provider knows the charge by: refunds made in its dashboard and disputes name nothing else. In a table of its
-- own, for an index on a column that changes would end updates in place.
create table payments.charges (
    provider text not null,
    reference text not null,
    payment_id uuid not null,
    primary key (provider, reference)
);

grant select, insert on payments.charges to holdfast_payments;
grant select on payments.charges, log.installation, orders.timers to holdfast_gateway;
