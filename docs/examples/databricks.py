"""Loads the records of SMS into a Delta table, window by window, by manifest (Databricks, Spark).

Objects under data/ are replaced in place. Auto Loader takes each file once, or loads a replaced
file again beside its old rows. So this job replaces the rows of a window when the window's manifest
names another version.

Executed by the project's tests: the SQL in PENDING, by DuckDB on real manifests, and the file as
Python. Not executed: Spark, Delta and Databricks.
"""

BUCKET = "s3://BUCKET"
PRODUCT = "SMS"
TABLE = "usage.sms"
LOADED = "usage.sms_loaded"
"""A Delta table with dataset_key and version_id; create it once."""

MANIFEST_SCHEMA = (
    "product STRING, rows BIGINT, dataset STRUCT<key: STRING, version_id: STRING>, "
    "times STRUCT<delivered: STRING>"
)

# The newest manifest of each dataset object describes it. A manifest whose dataset is null is left
# out: a later revision was there first.
PENDING = """
SELECT w.dataset_key, w.version_id, w.records FROM (
  SELECT dataset.key AS dataset_key, dataset.version_id AS version_id, rows AS records, product,
    row_number() OVER (PARTITION BY dataset.key ORDER BY times.delivered DESC) AS place
  FROM manifests WHERE dataset IS NOT NULL
) AS w LEFT JOIN loaded AS l ON l.dataset_key = w.dataset_key
WHERE w.place = 1 AND w.product = 'SMS' AND (l.version_id IS NULL OR l.version_id <> w.version_id)
"""


def main(spark):
    """Load every window of SMS that is new or was replaced."""
    options = {"recursiveFileLookup": "true", "multiLine": "true"}
    manifests = spark.read.schema(MANIFEST_SCHEMA).options(**options).json(f"{BUCKET}/manifests/")
    manifests.createOrReplaceTempView("manifests")
    spark.table(LOADED).createOrReplaceTempView("loaded")
    for window in spark.sql(PENDING).collect():
        load(spark, window.dataset_key, window.version_id, window.records)


def load(spark, key, version, expected):
    """Replace the rows of a window. Repeating it changes nothing."""
    rows = spark.read.parquet(f"{BUCKET}/{key}")
    if rows.count() != expected:
        print(f"{key}: a later delivery has replaced it; its manifest follows")
        return
    named = rows.selectExpr("*", f"'{key}' AS _file")
    if not spark.catalog.tableExists(TABLE):
        named.limit(0).write.format("delta").saveAsTable(TABLE)
    # One transaction deletes the window's old rows and writes the new ones.
    writer = (
        named.write.format("delta").mode("overwrite").option("replaceWhere", f"_file = '{key}'")
    )
    writer.option("mergeSchema", "true").saveAsTable(TABLE)
    spark.sql(f"DELETE FROM {LOADED} WHERE dataset_key = '{key}'")
    spark.sql(f"INSERT INTO {LOADED} VALUES ('{key}', '{version}')")


if __name__ == "__main__":
    main(globals()["spark"])  # Databricks defines it
