"""Countries, networks, prices and phone numbers of the synthetic records.

Every number lies in a range that a regulator reserves for fiction, so no number belongs to a real
subscriber: Ofcom (GB), NANPA 555-01xx (US, CA), ACMA (AU), ARCEP (FR), Bundesnetzagentur (DE),
ComReg (IE), PTS (SE). Namibia has no such range, so its numbers have a 0 after the country code: no
network can assign these numbers. Namibia is included because many CSV readers take its ISO code
"NA" for a missing value. The code 999 belongs to no country, so the records with the country name
UNKNOWN have it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class NumberRange:
    """Consecutive fictional numbers in international format, without a plus sign."""

    first: int
    size: int

    @property
    def last(self) -> int:
        """The last number of the range."""
        return self.first + self.size - 1


@dataclass(frozen=True)
class Network:
    """A mobile network: MCC and MNC as one string, and its name."""

    code: str
    name: str


@dataclass(frozen=True)
class Country:
    """A destination of messages and calls, with its prices.

    Attributes:
        code: ISO 3166-1 alpha-2, or empty if unknown.
        name: Value of the column `country_name`.
        numbers: The fictional range of its subscribers.
        networks: At least one.
        message_price: Millionths of a euro per message.
        minute_price: Millionths of a euro per minute of a call.
        share: How many of 256 records belong to this country.
    """

    code: str
    name: str
    numbers: NumberRange
    networks: tuple[Network, ...]
    message_price: int
    minute_price: int
    share: int


COUNTRIES = (
    Country(
        "GB",
        "United Kingdom",
        NumberRange(447700900000, 1000),
        (
            Network("23410", "Telefonica UK Limited"),
            Network("23415", "Vodafone Limited"),
            Network("23430", "EE Limited"),
            Network("23420", "Hutchison 3G UK Limited"),
        ),
        33_300,
        13_900,
        92,
    ),
    Country(
        "US",
        "United States of America",
        NumberRange(12125550100, 100),
        (
            Network("310260", "T-Mobile USA, Inc."),
            Network("311480", "Verizon Wireless"),
            Network("310410", "AT&T Wireless Inc."),
            # Raw records name these two networks with letters.
            Network("US-FIXED", "United States Landline"),
            Network("US-UNKNOWN", "United States Unknown"),
        ),
        6_800,
        11_900,
        48,
    ),
    Country(
        "DE",
        "Germany",
        NumberRange(491713920000, 100),
        (
            Network("26201", "Telekom Deutschland GmbH"),
            Network("26202", "Vodafone GmbH"),
            Network("26203", "Telefonica Germany GmbH & Co. OHG"),
        ),
        75_900,
        28_000,
        32,
    ),
    Country(
        "FR",
        "France",
        NumberRange(33639980000, 10_000),
        (
            Network("20801", "Orange France"),
            Network("20810", "Société Française du Radiotéléphone"),
            Network("20820", "Bouygues Telecom"),
        ),
        65_100,
        19_400,
        24,
    ),
    Country(
        "AU",
        "Australia",
        NumberRange(61255500000, 10_000),
        (Network("50501", "Telstra Corporation Limited"), Network("50502", "Optus Mobile Pty Ltd")),
        43_700,
        32_500,
        16,
    ),
    Country(
        "CA",
        "Canada",
        NumberRange(14165550100, 100),
        (Network("302610", "Bell Mobility Inc."), Network("302720", "Rogers Communications")),
        6_200,
        11_900,
        16,
    ),
    Country(
        "IE",
        "Ireland",
        NumberRange(353209100000, 100_000),
        (Network("27201", "Vodafone Ireland"), Network("27202", "Three Ireland")),
        59_400,
        45_000,
        12,
    ),
    Country(
        "SE",
        "Sweden",
        NumberRange(46701740605, 95),
        (Network("24001", "Telia Sverige AB"), Network("24007", "Tele2 Sverige AB")),
        50_100,
        22_300,
        8,
    ),
    Country(
        "NA",
        "Namibia",
        NumberRange(264000000000, 1000),
        (
            Network("64901", "Mobile Telecommunications Limited"),
            Network("64903", "Telecom Namibia"),
        ),
        219_820,
        264_000,
        4,
    ),
    Country(
        "",
        "UNKNOWN",
        NumberRange(999000000000, 1000),
        (Network("99999", "Unknown"),),
        50_000,
        50_000,
        4,
    ),
)

# The account's own numbers, in Ofcom's drama range for London.
OWN_NUMBERS = NumberRange(442079460000, 1000)
