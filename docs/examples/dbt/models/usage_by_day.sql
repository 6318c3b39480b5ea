-- Usage and cost of each day, account and product. Rebuild it as a whole: a later revision replaces
-- the records of earlier days, which an incremental model by date would miss.
{{ config(materialized='table') }}

SELECT
  CAST(occurred_at AS date) AS day,
  account_id,
  product,
  currency,
  count(*) AS records,
  sum(cost) AS cost,
  count(*) FILTER (WHERE cost_is_incomplete) AS records_without_price,
  count(*) FILTER (WHERE revision = 'preliminary') AS preliminary_records
FROM {{ source('vonage_usage_reports', 'usage') }}
GROUP BY 1, 2, 3, 4
