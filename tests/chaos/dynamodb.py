"""DynamoDB as far as the ledger relies on it: one table, transactions, conditions.

moto copies the whole table in every transaction and takes 30 ms to tell of 30 items, a hundred
thousand times in a campaign. What this one knows it does as moto does (a test compares them); what
it does not know it refuses.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Item = Mapping[str, Any]
"""As it goes over the wire: `{"pk": {"S": "open"}, ...}`."""


class ConditionsFailed(Exception):
    """The reasons for which a transaction wrote nothing, one for each write; "None" for none."""

    def __init__(self, codes: Sequence[str]) -> None:
        super().__init__(", ".join(codes))
        self.reasons = [{"Code": code} for code in codes]


class Table:
    """Items by partition and sort key."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do one operation. Raises ConditionsFailed, KeyError for what is not known here."""
        # boto3 turns an answer into Python's values where it stands.
        return dict(json.loads(json.dumps(_OPERATIONS[operation](self, asked))))

    def _get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self.items.get(_key(asked["Key"]))
        return {} if found is None else {"Item": found}

    def _get_together(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"Responses": [self._get(each["Get"]) for each in asked["TransactItems"]]}

    def _get_batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        ((name, wanted),) = asked["RequestItems"].items()
        found = [self.items[_key(key)] for key in wanted["Keys"] if _key(key) in self.items]
        return {"Responses": {name: found}, "UnprocessedKeys": {}}

    def _delete(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self.items.pop(_key(asked["Key"]), None)
        return {}

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        condition = _named(asked["KeyConditionExpression"], asked)
        values = {name: value["S"] for name, value in asked["ExpressionAttributeValues"].items()}
        matched = _KEY_CONDITION.fullmatch(condition)
        if matched is None:
            raise KeyError(condition)
        pk, low, high = (matched[n] and values[matched[n]] for n in ("pk", "low", "high"))
        found = sorted(
            key
            for key in self.items
            if key[0] == pk and (low or "") <= key[1] and (high is None or key[1] <= high)
        )
        return {"Items": [self.items[key] for key in found], "Count": len(found)}

    def _write_together(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        writes = [next(iter(each.items())) for each in asked["TransactItems"]]
        keys = [_key(said.get("Item") or said["Key"]) for _, said in writes]
        assert len(set(keys)) == len(keys), "DynamoDB refuses two writes of one item"
        codes = [
            "None" if self._holds(key, said) else "ConditionalCheckFailed"
            for key, (_, said) in zip(keys, writes, strict=True)
        ]
        if set(codes) != {"None"}:
            raise ConditionsFailed(codes)
        for key, (kind, said) in zip(keys, writes, strict=True):
            if kind == "Put":
                self.items[key] = said["Item"]
            elif kind == "Delete":
                self.items.pop(key, None)
            elif kind != "ConditionCheck":
                raise KeyError(kind)
        return {}

    def _holds(self, key: tuple[str, str], said: Mapping[str, Any]) -> bool:
        if "ConditionExpression" not in said:
            return True
        item = self.items.get(key, {})
        values = said.get("ExpressionAttributeValues", {})
        return any(
            _term(term, item, values)
            for term in _named(said["ConditionExpression"], said).split(" OR ")
        )


_OPERATIONS: Mapping[str, Callable[[Table, Mapping[str, Any]], dict[str, Any]]] = {
    "GetItem": Table._get,
    "BatchGetItem": Table._get_batch,
    "TransactGetItems": Table._get_together,
    "DeleteItem": Table._delete,
    "Query": Table._query,
    "TransactWriteItems": Table._write_together,
}

_KEY_CONDITION = re.compile(
    r"\(?pk = (?P<pk>:\w+)( AND (sk BETWEEN (?P<low>:\w+) AND (?P<high>:\w+)))?\)?"
)
_TERM = re.compile(r"(?P<name>\w+) (?P<how>=|<|<=) (?P<value>:\w+)")


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _named(expression: str, asked: Mapping[str, Any]) -> str:
    for name, meant in asked.get("ExpressionAttributeNames", {}).items():
        expression = re.sub(rf"{name}\b", meant, expression)
    return expression


def _term(term: str, item: Item, values: Mapping[str, Any]) -> bool:
    if term.startswith("attribute_not_exists("):
        return term.removeprefix("attribute_not_exists(").removesuffix(")") not in item
    matched = _TERM.fullmatch(term)
    if matched is None:
        raise KeyError(term)
    has, wanted = item.get(matched["name"]), values[matched["value"]]
    if has is None:
        return False
    if matched["how"] == "=":
        return bool(has == wanted)
    # ISO 8601 in UTC: text in the order of time.
    return bool(has["S"] < wanted["S"] or (matched["how"] == "<=" and has == wanted))
