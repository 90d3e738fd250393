-- The next buyers of a failed round, so that a batch of refunds reads what it names and little more. Nothing in it changes
-- when a hold is committed or released, so that those are updates in place.
create index holds_to_refund on rounds.holds (round_id, order_id, attempt)
    where not refund_requested and returned_by is null;
