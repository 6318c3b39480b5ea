-- Windows whose only revision is preliminary: their prices may still change.
SELECT
  definition,
  account_id,
  min(window_start) AS first_window,
  count(*) AS windows
FROM (
  -- In alphabetical order, final comes before preliminary.
  SELECT definition, account_id, "window"."start" AS window_start, min(revision) AS revision
  FROM {{ source('vonage_usage_reports', 'manifests') }}
  GROUP BY 1, 2, 3
) AS newest
WHERE revision = 'preliminary'
GROUP BY 1, 2
