-- no-transaction
-- The few holds of a round that are not in the index of those to refund, and may have tickets all the same.
create index concurrently holds_named_or_kept on rounds.holds (round_id) where refund_requested or keeps_ticket;
