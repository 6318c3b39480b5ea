"""Names that people write: countries, and Vonage's words for its products."""

import gettext
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import cache

import pycountry

from vonage_dataset.tables import TABLES

_LANGUAGES = ("de", "fr", "es", "it", "nl", "pt")
"""The languages of country names, besides English."""

# Names in daily use that ISO 3166 and pycountry lack.
_COUNTRIES = {
    "uk": "GB", "great britain": "GB", "england": "GB", "russia": "RU", "turkey": "TR",
    "ivory coast": "CI", "cape verde": "CV", "swaziland": "SZ", "macedonia": "MK", "kosovo": "XK",
    "brunei": "BN", "palestine": "PS", "burma": "MM", "vatican": "VA", "vatican city": "VA",
    "macau": "MO", "holland": "NL", "the netherlands": "NL", "micronesia": "FM", "reunion": "RE",
    "congo": "CG", "congo kinshasa": "CD", "dr congo": "CD", "congo brazzaville": "CG",
    "st lucia": "LC", "east timor": "TL", "uae": "AE", "usa": "US",
}  # fmt: skip

_PRODUCTS = {
    "VOICE": ("VOICE-CALL",),
    "CALL": ("VOICE-CALL",),
    "TTS": ("VOICE-TTS",),
    "TEXT-TO-SPEECH": ("VOICE-TTS",),
    "SPEECH-RECOGNITION": ("ASR",),
    "ANSWERING-MACHINE-DETECTION": ("AMD",),
    "WEBSOCKET": ("WEBSOCKET-CALL",),
    "VERIFY": ("VERIFY-API", "VERIFY-V2"),
    "VERIFY-V1": ("VERIFY-API",),
    "MESSAGE": ("MESSAGES",),
    "VIDEO": ("VIDEO-API",),
    "NETWORK": ("NETWORK-API-EVENT",),
    "NETWORK-API": ("NETWORK-API-EVENT",),
    "REPORT": ("REPORTS-USAGE",),
    "REPORTS": ("REPORTS-USAGE",),
    "CONVERSATION": ("CONVERSATION-EVENT", "CONVERSATION-MESSAGE"),
}
"""Vonage's words, in the form of `_word`, and the products that they may mean."""

_BESIDE_A_PRODUCT = re.compile(r"\b(API|INBOUND|OUTBOUND|MT|MO|USAGE|CHARGES?|TRAFFIC)\b")
_IN_BRACKETS = re.compile(r"\(.*?\)|\[.*?\]")


@cache
def country_of(text: str) -> str | None:
    """Return the ISO 3166 code of a country's name or code in any case, or None."""
    for name in (text, _IN_BRACKETS.sub("", text), re.split(r" - | / |/|:", text)[0]):
        plain = _folded(name)
        if plain in _COUNTRIES:
            return _COUNTRIES[plain]
        if plain in _names():
            return _names()[plain]
    return None


@cache
def _names() -> Mapping[str, str]:
    """Return the codes of all names, in the form of `_folded`. English names come first."""
    found: dict[str, str] = {}
    translations = [
        gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language])
        for language in _LANGUAGES
    ]
    for translate in (gettext.NullTranslations().gettext, *(each.gettext for each in translations)):
        for country in pycountry.countries:
            code = country.alpha_2
            for name in (code, country.alpha_3, *_names_of(country)):
                found.setdefault(_folded(translate(name)), code)
    return found


def _names_of(country: pycountry.db.Country) -> Iterator[str]:
    yield country.name
    # Such as "Republic of Korea" for "Korea, Republic of".
    yield " ".join(reversed(country.name.split(", ")))
    yield from (getattr(country, name, country.name) for name in ("official_name", "common_name"))


def _folded(text: str) -> str:
    return " ".join(_plain(text).replace(".", "").split())


def _plain(text: str) -> str:
    """Return a text without accents, case and typographic apostrophes."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()


def product_of(word: str, ours: Collection[str]) -> str | None:
    """Return the product that a word of an invoice means, in any case, or None.

    If it may mean several products, prefer the one with records, which are in `ours`.
    """
    exact = _word(word)
    if exact in TABLES or exact in ours:
        return exact
    bare = _word(_BESIDE_A_PRODUCT.sub(" ", _IN_BRACKETS.sub(" ", word).upper()))
    found: dict[str, None] = {}
    for stem in (exact, bare, exact.removesuffix("S"), bare.removesuffix("S")):
        for name in (stem, f"{stem}-API", f"{stem}-CALL", f"{stem}S", *_PRODUCTS.get(stem, ())):
            if name in TABLES or name in ours:
                found[name] = None
    with_records = [name for name in found if name in ours]
    candidates = with_records or list(found)
    return candidates[0] if len(candidates) == 1 else None


def _word(text: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "-", text.upper()).strip("-")
