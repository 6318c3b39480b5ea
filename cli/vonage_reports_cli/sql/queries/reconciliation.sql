-- Our totals against the invoice, by month (UTC), product, country and currency.
-- Each line of an invoice is about a whole month, so the query covers every month that
-- the two dates touch.
-- our_total: sum of our records, exact
-- invoiced: sum of the lines of the invoice
-- difference: invoiced minus our_total; a missing total counts as 0
-- records_without_price: included in records, wholly or partly missing in our_total
-- records_with_rescued_price: those of them whose price does not fit its type
-- records_without_time: records without a readable time, counted at their window's start
-- preliminary_days: days (UTC) with preliminary records, whose prices may still change
WITH ${UsageOfPeriod},
ours AS (
  SELECT
    substr(CAST(occurred_at AS varchar), 1, 7) AS month,
    product,
    coalesce(country, '') AS country,
    coalesce(currency, '${AccountCurrency}') AS currency,
    count(*) AS records,
    sum(cost) AS our_total,
    count(*) FILTER (WHERE cost_is_incomplete) AS records_without_price,
    count(*) FILTER (WHERE price_is_rescued) AS records_with_rescued_price,
    count(*) FILTER (WHERE time_is_assumed) AS records_without_time,
    count(DISTINCT CASE WHEN revision = 'preliminary' THEN CAST(occurred_at AS date) END)
      AS preliminary_days
  FROM usage_of_period
  -- These records have no price: Vonage bills them elsewhere or not at all.
  WHERE product NOT IN ('SMS-TRAFFIC-CONTROL', 'VOICE-FAILED')
  GROUP BY 1, 2, 3, 4
),
theirs AS (
  SELECT
    month,
    product,
    coalesce(country, '') AS country,
    currency,
    sum(CAST(amount AS decimal(18,8))) AS invoiced
  FROM invoice
  -- Set the same period here.
  WHERE CAST(month || '-01' AS date) >= date_trunc('month', ${Since})
    AND CAST(month || '-01' AS date)
      < date_trunc('month', ${Until} - INTERVAL '1' DAY) + INTERVAL '1' MONTH
    -- The price of your own reports: the query reports_bill has it.
    AND product <> 'REPORTS-USAGE'
  GROUP BY 1, 2, 3, 4
)
SELECT
  coalesce(ours.month, theirs.month) AS month,
  coalesce(ours.product, theirs.product) AS product,
  coalesce(ours.country, theirs.country) AS country,
  coalesce(ours.currency, theirs.currency) AS currency,
  our_total,
  invoiced,
  coalesce(invoiced, 0) - coalesce(our_total, 0) AS difference,
  coalesce(records, 0) AS records,
  coalesce(records_without_price, 0) AS records_without_price,
  coalesce(records_with_rescued_price, 0) AS records_with_rescued_price,
  coalesce(records_without_time, 0) AS records_without_time,
  coalesce(preliminary_days, 0) AS preliminary_days
FROM ours
FULL OUTER JOIN theirs
  ON ours.month = theirs.month
  AND ours.product = theirs.product
  AND ours.country = theirs.country
  AND ours.currency = theirs.currency
ORDER BY 1, 2, 3, 4
