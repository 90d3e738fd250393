-- The next buyers of a failed round, so that a batch of refunds reads what it names and no more.
create index holds_to_refund on rounds.holds (round_id, order_id, attempt)
    where status = 'committed' and not refund_requested and returned_by is null;
