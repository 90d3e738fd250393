-- A charge may be reported again of which an operator said that its money went back.
alter table payments.reports
    drop constraint reports_mismatch_check,
    add constraint reports_mismatch_check check (mismatch in ('not_asked', 'second_charge', 'other_amount', 'taken_back',
        'refund_not_asked', 'refunded_twice', 'refund_contradicted', 'refund_unknown', 'given_back'));
