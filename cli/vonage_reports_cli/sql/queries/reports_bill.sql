-- Vonage's charges for your reports, from its own list of them. Times are UTC.
-- The list has every request of the API key: also those of other tools and of the dashboard.
-- period: the day, or the first day of the month
-- requester: the API key that sent the requests
-- requests, records: the reports, and the records in them
-- charged_records: the records of the requests that Vonage charged
-- cost: the price of these requests, exact
-- requests_without_price: charged, but missing in cost
WITH listed AS (
  SELECT
    *,
    coalesce(date_received, _window_start, CAST("date" AS timestamp)) AS received,
    coalesce(is_charged, true) AS charged,
    row_number() OVER (
      PARTITION BY id ORDER BY _collected_at DESC NULLS LAST, definition, account, "date"
    ) AS copy
  FROM reports_usage
  WHERE "date" >= CAST(${Since} AS date) - INTERVAL '32' DAY AND "date" <= CAST(${Until} AS date)
)
SELECT
  CAST(date_trunc('${Period}', received) AS date) AS period,
  acc AS requester,
  requested_product AS product,
  coalesce(_currency, nullif('${AccountCurrency}', '')) AS currency,
  count(*) AS requests,
  coalesce(sum(items_written), 0) AS records,
  coalesce(sum(items_written) FILTER (WHERE charged), 0) AS charged_records,
  sum(total_price) FILTER (WHERE charged) AS cost,
  count(*) FILTER (WHERE charged AND total_price IS NULL) AS requests_without_price
FROM listed
WHERE received >= ${Since} AND received < ${Until}
  -- Several definitions may list a request.
  AND (copy = 1 OR id IS NULL)
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
