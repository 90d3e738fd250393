-- A payment may have one page after the other. Null, beside a page from before: it is the first, and nobody wrote down until when it is open, so
-- another is opened only where it is asked for by name.
alter table payments.payments
    -- Which one it is, from 1.
    add column page_number int4 check (page_number > 0),
    -- Until when the provider was asked to keep it open.
    add column page_ends_at timestamptz,
    drop constraint payments_page_check,
    add constraint payments_page_check check (page in ('opening', 'open', 'closing', 'replacing', 'closed', 'failed'));
