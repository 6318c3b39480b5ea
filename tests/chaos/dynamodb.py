"""A fake of the DynamoDB features that the ledger uses: one table, transactions, conditions.

moto copies the whole table in every transaction, and takes 30 ms to return 30 items, a hundred
thousand times in a campaign. test_fakes.py compares the fake with moto. It refuses everything else.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Item = Mapping[str, Any]
"""An item in wire format: `{"pk": {"S": "open"}, ...}`."""


class ConditionsFailed(Exception):
    """A transaction wrote nothing. `reasons` has a code per write, "None" if it was allowed."""

    def __init__(self, codes: Sequence[str]) -> None:
        super().__init__(", ".join(codes))
        self.reasons = [{"Code": code} for code in codes]


class Table:
    """Items by partition and sort key."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def answer(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Execute one operation. Raises ConditionsFailed, or KeyError for an unknown operation."""
        # boto3 deserializes an answer in place.
        return dict(json.loads(json.dumps(_OPERATIONS[operation](self, request))))

    def _get(self, request: Mapping[str, Any]) -> dict[str, Any]:
        found = self.items.get(_key(request["Key"]))
        return {} if found is None else {"Item": found}

    def _get_together(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"Responses": [self._get(each["Get"]) for each in request["TransactItems"]]}

    def _get_batch(self, request: Mapping[str, Any]) -> dict[str, Any]:
        ((name, wanted),) = request["RequestItems"].items()
        found = [self.items[_key(key)] for key in wanted["Keys"] if _key(key) in self.items]
        return {"Responses": {name: found}, "UnprocessedKeys": {}}

    def _delete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.items.pop(_key(request["Key"]), None)
        return {}

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        condition = _named(request["KeyConditionExpression"], request)
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        matched = _KEY_CONDITION.fullmatch(condition)
        if matched is None:
            raise KeyError(condition)
        pk, low, high = (matched[n] and values[matched[n]] for n in ("pk", "low", "high"))
        found = sorted(
            key
            for key in self.items
            if key[0] == pk and (low or "") <= key[1] and (high is None or key[1] <= high)
        )
        if not request.get("ScanIndexForward", True):
            found.reverse()
        read = found[: request.get("Limit")]
        more = {"LastEvaluatedKey": _of(*read[-1])} if len(read) < len(found) else {}
        return {"Items": [self.items[key] for key in read], "Count": len(read), **more}

    def _write_together(self, request: Mapping[str, Any]) -> dict[str, Any]:
        writes = [next(iter(each.items())) for each in request["TransactItems"]]
        keys = [_key(write.get("Item") or write["Key"]) for _, write in writes]
        assert len(set(keys)) == len(keys), "DynamoDB refuses two writes of one item"
        codes = [
            "None" if self._holds(key, write) else "ConditionalCheckFailed"
            for key, (_, write) in zip(keys, writes, strict=True)
        ]
        if set(codes) != {"None"}:
            raise ConditionsFailed(codes)
        for key, (kind, write) in zip(keys, writes, strict=True):
            if kind == "Put":
                self.items[key] = write["Item"]
            elif kind == "Delete":
                self.items.pop(key, None)
            elif kind == "Update":
                self.items[key] = _added(self.items.get(key) or _of(*key), write)
            elif kind != "ConditionCheck":
                raise KeyError(kind)
        return {}

    def _holds(self, key: tuple[str, str], write: Mapping[str, Any]) -> bool:
        if "ConditionExpression" not in write:
            return True
        item = self.items.get(key, {})
        values = write.get("ExpressionAttributeValues", {})
        return any(
            _term(term, item, values)
            for term in _named(write["ConditionExpression"], write).split(" OR ")
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


def _of(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _added(item: Item, update: Mapping[str, Any]) -> Item:
    """Return an item with numbers added: `ADD name :value, ...`."""
    result = dict(item)
    for term in update["UpdateExpression"].removeprefix("ADD ").split(", "):
        name, value = term.split(" ")
        before = int(result.get(name, {"N": "0"})["N"])
        result[name] = {"N": str(before + int(update["ExpressionAttributeValues"][value]["N"]))}
    return result


def _named(expression: str, request: Mapping[str, Any]) -> str:
    for name, meant in request.get("ExpressionAttributeNames", {}).items():
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
    # ISO 8601 in UTC: text sorts by time.
    return bool(has["S"] < wanted["S"] or (matched["how"] == "<=" and has == wanted))
