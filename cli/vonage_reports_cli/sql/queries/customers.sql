-- Usage of a list of customers: replace `customers` with your own table.
-- customer: from the list; empty if the list lacks the account
-- records, delivered, cost: sums for each customer, product and currency
-- records_without_time: records without a readable time, counted at their window's start
-- last_used: time of the last record, UTC
WITH ${UsageOfPeriod},
customers (account_id, customer) AS (
  VALUES ('abcd1234', 'Example Ltd'), ('efgh5678', 'Sample GmbH')
)
SELECT
  customer,
  product,
  coalesce(currency, nullif('${AccountCurrency}', '')) AS currency,
  count(*) AS records,
  count(*) FILTER (WHERE status IN ('delivered', 'read')) AS delivered,
  sum(cost) AS cost,
  count(*) FILTER (WHERE time_is_assumed) AS records_without_time,
  max(occurred_at) AS last_used
FROM usage_of_period AS used
LEFT JOIN customers ON customers.account_id = used.account_id
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
