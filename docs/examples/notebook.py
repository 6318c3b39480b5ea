# %% [markdown]
# Usage by manifest, with DuckDB, over a copy of the bucket such as `out/` of `make run`.
#
#     .venv/bin/python docs/examples/notebook.py out         or open it as a notebook (jupytext)
#     aws s3 sync s3://BUCKET reports --exclude '*' --include 'data/*' --include 'manifests/*'
#
# Executed by the project's tests on a folder of deliveries. Not executed: Jupyter itself.

# %%
import sys
from pathlib import Path

import duckdb

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")

# %% [markdown]
# Only a window with a manifest is delivered. Of several revisions of a window, one dataset object is
# left: that of its newest manifest with a dataset.

# %%
db.execute(
    """
    CREATE TABLE manifests AS
    SELECT report_id, definition, product, account_id, revision, "rows",
      dataset ->> '$.key' AS "key", dataset ->> '$.sha256' AS sha256,
      times ->> '$.delivered' AS delivered
    FROM read_json(
      ?, columns = {
        report_id: 'VARCHAR', definition: 'VARCHAR', product: 'VARCHAR', account_id: 'VARCHAR',
        revision: 'VARCHAR', "rows": 'BIGINT', dataset: 'JSON', times: 'JSON'}
    )
    """,
    [f"{FOLDER}/manifests/**/*.json"],
)
db.execute(
    """
    CREATE VIEW windows AS
    SELECT * FROM manifests WHERE "key" IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY "key" ORDER BY delivered DESC) = 1
    """
)
db.sql("SELECT definition, revision, sum(rows) AS records FROM windows GROUP BY ALL").show()

# %% [markdown]
# One product: its files by name. Columns are found by name, because Vonage adds columns.

# %%
products = [name for (name,) in db.execute("SELECT DISTINCT product FROM windows").fetchall()]
for product in sorted(products):
    keys = db.execute('SELECT "key" FROM windows WHERE product = ?', [product]).fetchall()
    files = [str(FOLDER / key) for (key,) in keys]
    table = product.lower().replace("-", "_")
    db.read_parquet(files, union_by_name=True).to_view(table)
    expected = db.execute("SELECT sum(rows) FROM windows WHERE product = ?", [product]).fetchall()
    found = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    # A window that was replaced meanwhile has another number of rows: read the manifests again.
    print(f"{product}: {found[0][0]} of {expected[0][0]} records")

# %% [markdown]
# Your own questions.

# %%
if "SMS" in products:
    db.sql(
        """
        SELECT country, _currency AS currency, count(*) AS records, sum(total_price) AS cost
        FROM sms GROUP BY ALL ORDER BY cost DESC NULLS LAST
        """
    ).show()
