"""The tables of the dataset have every column of the specification, in order."""

import subprocess
import sys

import pytest

from local.simulator.products import PRODUCTS
from tests.support.paths import ROOT
from vonage_dataset.tables import RESCUED, TABLES, Type, table_as_it_comes
from vonage_reports.domain import products

NOT_REQUESTED = {"NUMBER-INSIGHT-V2"}
"""The specification has a schema for it, but does not list it among the products."""


def test_every_product_has_a_table() -> None:
    assert set(TABLES) == set(products.PRODUCTS) | NOT_REQUESTED


@pytest.mark.parametrize("product", PRODUCTS)
def test_time_is_the_column_that_selects_records(product: str) -> None:
    assert TABLES[product].time == PRODUCTS[product].date_column


def test_number_insight_v2_has_the_columns_of_its_schema() -> None:
    names = [column.name for column in TABLES["NUMBER-INSIGHT-V2"].columns]

    assert (len(names), names[0], names[-1]) == (16, "account_id", "id")
    assert TABLES["NUMBER-INSIGHT-V2"].time == "date_received"


@pytest.mark.parametrize("product", PRODUCTS)
def test_table_has_the_specified_columns_of_both_directions(
    product: str,
) -> None:
    names = [column.name for column in TABLES[product].columns]

    assert names == list(PRODUCTS[product].columns)
    assert set(PRODUCTS[product].inbound_columns) <= set(names)


@pytest.mark.parametrize("product", TABLES)
def test_price_is_a_decimal_beside_a_currency(product: str) -> None:
    table = TABLES[product]
    types = {column.name: column.type for column in table.columns}

    assert {type_ for name, type_ in types.items() if "price" in name} <= {Type.MONEY}
    assert (table.price in types) == ("currency" in types) == (table.price is not None)


@pytest.mark.parametrize("product", TABLES)
def test_ids_numbers_and_codes_are_text(product: str) -> None:
    texts = ("from", "to", "number", "msisdn", "network", "country", "country_code", "status_code")
    types = {column.name: column.type for column in TABLES[product].columns}

    assert {types[name] for name in types if name.endswith("id") or name in texts} == {Type.TEXT}


@pytest.mark.parametrize("product", TABLES)
def test_no_column_is_named_like_a_part_of_the_key(product: str) -> None:
    # Readers see `data/product=.../definition=.../account=.../date=...` as columns too.
    names = {column.name for column in TABLES[product].all_columns}

    assert not names & {"product", "definition", "account", "date"}
    assert TABLES[product].all_columns[-1] == RESCUED


def test_unknown_product_is_text_with_a_price() -> None:
    table = table_as_it_comes(("id", "duration", "total_price"))

    assert [(column.name, column.type) for column in table.columns] == [
        ("id", Type.TEXT),
        ("duration", Type.TEXT),
        ("total_price", Type.MONEY),
    ]
    assert table.price == "total_price"
    assert table_as_it_comes(("id",)).price is None


def test_tables_can_be_imported_without_pyarrow() -> None:
    code = "import sys, vonage_dataset.tables; assert 'pyarrow' not in sys.modules"

    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "layers/dataset")}, check=True
    )
