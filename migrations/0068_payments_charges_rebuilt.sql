-- Charges follow from payments and reports, so `holdfast rebuild` takes out what does not, as it does with rows.
grant delete on payments.charges to holdfast_rebuild;
