"""Names that people write: countries, and Vonage's words for its products."""

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.country_names import COUNTRY_NAMES
from vonage_dataset.tables import TABLES
from vonage_reports_cli.names import country_of, product_of

ISO = {each.name: each.alpha_2 for each in pycountry.countries}
TRAFFIC = (
    "{} (Mobile)",
    "{} - Landline",
    "{} Fixed Line",
    "{}: toll-free",
    "{} [Special Services]",
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("gb", "GB"), ("GBR", "GB"), ("United Kingdom", "GB"), ("U.K.", "GB"),
        ("C\u00f4te d\u2019Ivoire", "CI"), ("Deutschland", "DE"), ("Allemagne", "DE"),
        ("Germany (Mobile)", "DE"), ("Germany - Mobile", "DE"), ("south korea", "KR"),
        ("Korea, Republic of", "KR"), ("CURACAO", "CW"), ("Russia", "RU"), ("NA", "NA"),
        ("T\u00fcrkiye", "TR"), ("turkey", "TR"), ("Atlantis", None), ("", None),
        ("Congo - Kinshasa", "CD"), ("Congo (DRC)", "CD"), ("Congo, Dem. Rep.", "CD"),
        ("Democratic Republic of Congo", "CD"), ("DRC", "CD"), ("Republic of Congo", "CG"),
        ("Sudan (South)", "SS"), ("Guinea - Bissau", "GW"), ("Guinea (Equatorial)", "GQ"),
        ("Samoa - American", "AS"), ("Ireland - Northern", "GB"), ("Korea (South)", "KR"),
        ("Korea (North)", "KP"), ("Virgin Islands (British)", "VG"), ("Hong Kong SAR", "HK"),
        ("China (Hong Kong)", "HK"), ("China - Taiwan", "TW"), ("Bosnia & Herzegovina", "BA"),
        ("St Lucia", "LC"), ("St. Kitts & Nevis", "KN"), ("Netherlands (the)", "NL"),
        ("The Gambia", "GM"), ("ST", "ST"), ("Germany (DE)", "DE"), ("DE - Germany", "DE"),
        ("Myanmar (Burma)", "MM"),
    ],
)  # fmt: skip
def test_country_has_names_and_codes(text: str, code: str | None) -> None:
    assert country_of(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "US/Canada", "GB/IE", "US / Canada", "Canada + US", "Niger - Nigeria", "Georgia (US)",
        "Congo (CD)", "Mexico (New)", "Germany - Atlantis", "Korea", "Islands", "the", "()",
        "Mobile", "Republic", "Saint",
    ],
)  # fmt: skip
def test_text_that_may_mean_another_country_has_no_code(text: str) -> None:
    assert country_of(text) is None


def test_names_of_unicode_are_known() -> None:
    assert {name: country_of(name) for name in COUNTRY_NAMES} == COUNTRY_NAMES


@given(
    named=st.sampled_from([*COUNTRY_NAMES.items(), *ISO.items()]),
    form=st.sampled_from(["{}", *TRAFFIC]),
    change=st.sampled_from([str.upper, str.lower, str.title]),
)
def test_words_of_traffic_change_no_country(
    named: tuple[str, str], form: str, change: type[str]
) -> None:
    name, code = named

    assert country_of(change(form.format(name))) == code


@given(
    one=st.sampled_from(list(COUNTRY_NAMES)),
    other=st.sampled_from(list(COUNTRY_NAMES)),
    between=st.sampled_from(["{}/{}", "{} / {}", "{} + {}", "{}|{}"]),
)
def test_two_countries_are_no_country(one: str, other: str, between: str) -> None:
    assert country_of(between.format(one, other)) is None


@given(
    one=st.sampled_from(list(COUNTRY_NAMES.values())),
    other=st.sampled_from(list(COUNTRY_NAMES.values())),
    between=st.sampled_from(["{}/{}", "{} ({})", "{} - {}", "{}, {}", "{}: {}", "{} {}"]),
)
def test_two_codes_are_never_the_first_one(one: str, other: str, between: str) -> None:
    assert one == other or country_of(between.format(one, other)) is None


@pytest.mark.parametrize(
    ("word", "ours", "product"),
    [
        ("sms", (), "SMS"), ("SMS Outbound", (), "SMS"), ("Voice API", (), "VOICE-CALL"),
        ("Verify", {"VERIFY-V2"}, "VERIFY-V2"), ("Verify", {"VERIFY-API", "VERIFY-V2"}, None),
        ("verify api", (), "VERIFY-API"), ("Number Insight", (), "NUMBER-INSIGHT"),
        ("Messages API", (), "MESSAGES"), ("Video", (), "VIDEO-API"), ("Numbers", (), None),
        ("IN_APP VOICE", (), "IN-APP-VOICE"), ("new-api", {"NEW-API"}, "NEW-API"),
        ("Verify API", {"VERIFY-V2"}, "VERIFY-V2"), ("verify-api", {"VERIFY-V2"}, "VERIFY-API"),
        ("Verify API", {"VERIFY-API", "VERIFY-V2"}, "VERIFY-API"), ("SMS_MT", (), "SMS"),
        ("VOICE_API", {"VOICE-CALL"}, "VOICE-CALL"), ("sms_mo_usage", {"SMS"}, "SMS"),
    ],
)  # fmt: skip
def test_product_has_words_in_any_case(
    word: str, ours: set[str] | tuple[()], product: str | None
) -> None:
    assert product_of(word, ours) == product


@given(product=st.sampled_from(list(TABLES)), ours=st.sets(st.sampled_from(list(TABLES))))
def test_name_of_a_product_means_no_other_one(product: str, ours: set[str]) -> None:
    assert product_of(product.lower(), ours) == product
