"""An answer of Vonage about one report, and any JSON value in its place."""

from typing import Any

from hypothesis import strategies as st

ANSWER: dict[str, Any] = {
    "request_id": "request-1",
    "request_status": "SUCCESS",
    "product": "SMS",
    "account_id": "abcd1234",
    "include_subaccounts": False,
    "direction": "outbound",
    "include_message": False,
    "date_start": "2026-11-20T13:00:00+0000",
    "date_end": "2026-11-21T13:00:00Z",
    "receive_time": "2026-11-22T02:20:00Z",
    "items_count": 3,
    "_links": {"download_report": {"href": "https://api.nexmo.com/v3/media/file-1"}},
}

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
