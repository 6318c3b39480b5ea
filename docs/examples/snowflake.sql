-- Loads the records of SMS into Snowflake, window by window, by manifest.
--
-- Objects under data/ are replaced in place. COPY would load a replaced object a second time beside
-- its old rows, and so would Snowpipe. So this script deletes the rows of a window and loads them
-- again, in one transaction, when the window's manifest names another version.
--
-- Executed by the project's tests: the statements under "portable", by DuckDB on real manifests.
-- The others were read by a grammar of Snowflake's dialect, and never ran on Snowflake.

-- >>> Snowflake only: once. The role needs s3:GetObject and s3:GetObjectVersion on manifests/* and
-- data/*, s3:ListBucket on the bucket, and kms:Decrypt on the key if the stack has KmsKeyArn.
-- DESC INTEGRATION vonage_reports shows STORAGE_AWS_IAM_USER_ARN and STORAGE_AWS_EXTERNAL_ID. The
-- role's trust policy allows that user sts:AssumeRole under the condition sts:ExternalId.
CREATE STORAGE INTEGRATION vonage_reports
  TYPE = EXTERNAL_STAGE STORAGE_PROVIDER = 'S3' ENABLED = TRUE
  STORAGE_AWS_ROLE_ARN = 'arn:<partition>:iam::<account>:role/snowflake-reads-reports'
  STORAGE_ALLOWED_LOCATIONS = ('s3://BUCKET/');

-- The stage spans manifests/ and data/, so the integration allows the bucket. The role's policy is the
-- narrower limit.
CREATE STAGE reports URL = 's3://BUCKET/' STORAGE_INTEGRATION = vonage_reports;

-- >>> portable: once
CREATE TABLE manifests (
  report_id VARCHAR, definition VARCHAR, product VARCHAR, account_id VARCHAR, revision VARCHAR,
  records BIGINT, dataset_key VARCHAR, version_id VARCHAR, delivered VARCHAR
);

CREATE TABLE loaded (dataset_key VARCHAR, version_id VARCHAR, records BIGINT);

CREATE TABLE sms (
  id VARCHAR, account_id VARCHAR, client_ref VARCHAR, direction VARCHAR, country VARCHAR,
  status VARCHAR, date_received TIMESTAMP, total_price DECIMAL(18, 8), _currency VARCHAR,
  _revision VARCHAR, _file VARCHAR
);

-- The newest manifest of each dataset object describes it. A manifest without a dataset has no
-- dataset_key: a later revision was there first.
CREATE VIEW windows AS
SELECT * FROM manifests WHERE dataset_key IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY dataset_key ORDER BY delivered DESC) = 1;

CREATE VIEW pending AS
SELECT w.dataset_key, w.version_id, w.records
FROM windows AS w LEFT JOIN loaded AS l ON l.dataset_key = w.dataset_key
WHERE w.product = 'SMS' AND (l.version_id IS NULL OR l.version_id <> w.version_id);

-- >>> Snowflake only: each time. A task runs both statements: first COPY, which loads the manifests
-- that are new or were rewritten, then the block.
COPY INTO manifests FROM (
  SELECT $1:report_id::VARCHAR, $1:definition::VARCHAR, $1:product::VARCHAR,
    $1:account_id::VARCHAR, $1:revision::VARCHAR, $1:rows::BIGINT, $1:dataset.key::VARCHAR,
    $1:dataset.version_id::VARCHAR, $1:times.delivered::VARCHAR
  FROM @reports/manifests/
) FILE_FORMAT = (TYPE = JSON);

-- COPY takes no variable for a file's name, so a block writes the statement for each window.
EXECUTE IMMEDIATE $$
DECLARE
  todo CURSOR FOR SELECT dataset_key, version_id, records FROM pending;
  found BIGINT;
BEGIN
  FOR each IN todo DO
    LET name VARCHAR := each.dataset_key;
    LET version VARCHAR := each.version_id;
    LET expected BIGINT := each.records;
    BEGIN TRANSACTION;
    DELETE FROM sms WHERE _file = :name;
    EXECUTE IMMEDIATE 'COPY INTO sms FROM @reports FILES = (''' || :name || ''')'
      || ' FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE'
      || ' INCLUDE_METADATA = (_file = METADATA$FILENAME) FORCE = TRUE';
    SELECT count(*) INTO :found FROM sms WHERE _file = :name;
    IF (found = expected) THEN
      DELETE FROM loaded WHERE dataset_key = :name;
      INSERT INTO loaded VALUES (:name, :version, :expected);
      COMMIT;
    ELSE
      -- A later delivery has replaced the object. Its manifest follows.
      ROLLBACK;
    END IF;
  END FOR;
END;
$$;

-- >>> portable: your own questions
SELECT country, _currency AS currency, count(*) AS records, sum(total_price) AS cost
FROM sms GROUP BY country, _currency ORDER BY country, currency;
