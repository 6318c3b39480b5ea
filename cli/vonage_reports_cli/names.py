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

# Names in daily use that ISO 3166 and pycountry lack, or write otherwise. Words are in any order.
_COUNTRIES = {
    "UK": "GB", "Great Britain": "GB", "England": "GB", "Scotland": "GB", "Wales": "GB",
    "Northern Ireland": "GB", "Britain": "GB", "USA": "US", "America": "US", "UAE": "AE",
    "Emirates": "AE", "Russia": "RU", "Turkey": "TR", "Ivory Coast": "CI", "Cape Verde": "CV",
    "Swaziland": "SZ", "Macedonia": "MK", "Kosovo": "XK", "Brunei": "BN", "Palestine": "PS",
    "Palestinian Territories": "PS", "Palestinian Territory": "PS", "Burma": "MM",
    "Vatican": "VA", "Vatican City": "VA", "Macau": "MO", "Macau China": "MO", "Macao China": "MO",
    "Hong Kong China": "HK", "Taiwan China": "TW", "China Mainland": "CN", "Holland": "NL",
    "Micronesia": "FM", "Reunion": "RE", "East Timor": "TL", "Czech Republic": "CZ",
    "Congo": "CG", "Congo Brazzaville": "CG", "Congo Republic": "CG",
    "Congo Kinshasa": "CD", "DRC": "CD", "DR Congo": "CD", "Congo DRC": "CD",
    "Congo Dem Rep": "CD", "Congo Democratic Republic": "CD", "Zaire": "CD",
    "South Korea": "KR", "Korea Rep": "KR", "North Korea": "KP", "Korea DPR": "KP",
    "Samoa Western": "WS", "US Samoa": "AS", "Virgin Islands UK": "VG",
    "Caribbean Netherlands": "BQ", "Bonaire": "BQ", "Netherlands Caribbean": "BQ",
    "Saint Martin": "MF", "Sint Maarten": "SX", "Pitcairn Islands": "PN",
    "Falkland Islands": "FK", "Saint Helena": "SH", "Antigua": "AG", "Trinidad": "TT",
    "Saint Vincent": "VC", "Saint Kitts": "KN", "US Outlying Islands": "UM",
    "Cocos Islands": "CC", "Keeling Islands": "CC", "South Georgia": "GS",
    "Saint Vincent Grenadines": "VC", "South Georgia South Sandwich Islands": "GS",
    "Heard McDonald Islands": "HM", "Ireland Republic": "IE",
}  # fmt: skip

_BESIDE_A_COUNTRY = frozenset((
    "mobile", "mobiles", "mobil", "cell", "cellular", "landline", "fixed", "fix", "festnetz",
    "line", "lines", "geographic", "national", "local", "proper", "other", "others", "premium",
    "special", "services", "toll", "free", "tollfree", "freephone", "voip", "sms", "mms", "voice",
    "inbound", "outbound", "domestic", "sar",
))  # fmt: skip
"""Words of traffic that an invoice adds to a country's name."""

_IN_NO_NAME = frozenset(("the", "of", "and"))
"""Words that one writer adds to a name and another one leaves out."""

_BETWEEN_NAMES = re.compile(r"[()\[\]:,;]|\s[-\u2013\u2014]\s")
_SEVERAL = re.compile(r"[/+|]")
"""A sign between two countries that share a price."""

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
    """Return the ISO 3166 code of a country's name or code in any case, or None.

    The words of a name are in any order: "Guinea - Bissau", "Korea (South)". Words of traffic are
    left out: "Germany (Mobile)". A text that may mean two countries has none.
    """
    if _SEVERAL.search(text):
        return None
    found = _of_name(text)
    if found is None:
        # Such as "Germany (DE)" and "Myanmar (Burma)".
        parts = [each for each in _BETWEEN_NAMES.split(text) if _words(each) - _BESIDE_A_COUNTRY]
        codes = {_of_name(each) for each in parts}
        found = codes.pop() if len(codes) == 1 else None
    return found


def _of_name(text: str) -> str | None:
    """Return the code of a text that has one name or code, and perhaps words of traffic."""
    words = _words(text)
    bare = text.replace(".", "").strip().upper()
    return (
        _codes().get(bare)
        or _names().get(words)
        or _names().get(frozenset(words - _BESIDE_A_COUNTRY))
    )


@cache
def _codes() -> Mapping[str, str]:
    return {
        code: country.alpha_2
        for country in pycountry.countries
        for code in (country.alpha_2, country.alpha_3)
    }


@cache
def _names() -> Mapping[frozenset[str], str]:
    """Return the codes of all names, in the form of `_words`."""
    found = {_words(name): code for name, code in _COUNTRIES.items()}
    translations = [
        gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language])
        for language in _LANGUAGES
    ]
    for translate in (gettext.NullTranslations().gettext, *(each.gettext for each in translations)):
        for country in pycountry.countries:
            for name in _names_of(country):
                found.setdefault(_words(translate(name)), country.alpha_2)
    return found


def _names_of(country: pycountry.db.Country) -> Iterator[str]:
    yield country.name
    yield from (getattr(country, name, country.name) for name in ("official_name", "common_name"))


def _words(text: str) -> frozenset[str]:
    """Return the words of a name, without accents, case, dots and the words in `_IN_NO_NAME`."""
    decomposed = unicodedata.normalize("NFKD", text.replace(".", ""))
    plain = "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()
    found = re.findall(r"[^\W_]+", plain)
    return frozenset("saint" if each == "st" else each for each in found) - _IN_NO_NAME


def product_of(word: str, ours: Collection[str]) -> str | None:
    """Return the product that a word of an invoice means, in any case, or None.

    If it may mean several products, prefer the one with records, which are in `ours`. Vonage's own
    name of a product, such as VERIFY-API, means no other one.
    """
    exact = _word(word)
    if exact in ours or (exact in TABLES and word.strip().upper() == exact):
        return exact
    found = products_of(word, ours)
    with_records = [name for name in found if name in ours]
    if not with_records and exact in TABLES:
        return exact
    candidates = with_records or found
    return candidates[0] if len(candidates) == 1 else None


def products_of(word: str, ours: Collection[str] = ()) -> list[str]:
    """Return all products that a word of an invoice may mean."""
    text = word.upper().replace("_", " ")
    exact = _word(text)
    bare = _word(_BESIDE_A_PRODUCT.sub(" ", _IN_BRACKETS.sub(" ", text)))
    found: dict[str, None] = {}
    for stem in (exact, bare, exact.removesuffix("S"), bare.removesuffix("S")):
        for name in (stem, f"{stem}-API", f"{stem}-CALL", f"{stem}S", *_PRODUCTS.get(stem, ())):
            if name in TABLES or name in ours:
                found[name] = None
    return list(found)


def _word(text: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "-", text.upper()).strip("-")
