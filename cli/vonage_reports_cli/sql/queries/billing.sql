-- Usage and cost of each customer (sub-account and client_ref). Times are UTC.
-- period: the day, or the first day of the month
-- records, seconds: usage
-- pricing_model: Vonage's, of VERIFY-API and MESSAGES
-- cost: charge by Vonage, exact
-- amount: cost with the mark-up, not rounded
-- fee, messages_and_calls: the two parts of the cost, of VERIFY-API
-- records_without_price: included in records, wholly or partly missing in cost
-- records_with_rescued_price: those of them whose price does not fit its type
-- records_without_time: records without a readable time, counted at their window's start
-- preliminary_records: records with prices that may still change
WITH ${UsageOfPeriod}
SELECT
  CAST(date_trunc('${Period}', occurred_at) AS date) AS period,
  account_id,
  client_ref,
  product,
  country,
  pricing_model,
  coalesce(currency, nullif('${AccountCurrency}', '')) AS currency,
  count(*) AS records,
  sum(duration) AS seconds,
  sum(cost) AS cost,
  sum(cost) * (1 + CAST('${MarkUp}' AS decimal(9,4))) AS amount,
  sum(fee) AS fee,
  sum(messages_and_calls) AS messages_and_calls,
  count(*) FILTER (WHERE cost_is_incomplete) AS records_without_price,
  count(*) FILTER (WHERE price_is_rescued) AS records_with_rescued_price,
  count(*) FILTER (WHERE time_is_assumed) AS records_without_time,
  count(*) FILTER (WHERE revision = 'preliminary') AS preliminary_records
FROM usage_of_period
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7
