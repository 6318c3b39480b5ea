"""Lists the licences of all locked dependencies: `make licences`.

A Python package states its licence in its metadata, so the virtual environments of make must be
complete. An npm package states its licence in `tests/package-lock.json`. The table
`tool.licences` of `pyproject.toml` has the allowed licences.
"""

import importlib.metadata
import json
import re
import sys
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
WIDTH = 80
UNKNOWN = "unknown"
NOT_INSTALLED = "not installed, so its licence is unknown"
_ALLOWED = "\0"  # stands for a part in parentheses; no licence has this name
_LOCKED = ("requirements/*.txt", "layers/*/requirements.txt", "functions/*/requirements.txt")

# SPDX identifiers of the texts in older metadata, which has no SPDX expression.
_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@dataclass(frozen=True)
class Package:
    """A locked release, with a file that locks it."""

    name: str
    version: str
    file: str


@dataclass(frozen=True)
class Rules:
    """The allowed SPDX identifiers and the reviewed packages, from the table `tool.licences`."""

    allow: frozenset[str]
    stated: Mapping[str, str]

    @classmethod
    def of_project(cls, root: Path) -> "Rules":
        """Return the rules in `pyproject.toml`. Raises KeyError."""
        table = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["licences"]
        return cls(frozenset(table["allow"]), table["stated"])

    def allows(self, expression: str) -> bool:
        """Return whether an SPDX expression is satisfied by allowed licences."""
        inner = re.search(r"\(([^()]*)\)", expression)
        if inner:
            verdict = _ALLOWED if self.allows(inner[1]) else UNKNOWN
            rest = expression[: inner.start()] + verdict + expression[inner.end() :]
            return self.allows(rest)
        # In SPDX, AND binds more strongly than OR.
        return any(
            all(each.strip() in self.allow | {_ALLOWED} for each in way.split(" AND "))
            for way in expression.split(" OR ")
        )


def locked_python(root: Path) -> Iterator[Package]:
    """Yield the locked Python packages of this platform."""
    for file in sorted(path for pattern in _LOCKED for path in root.glob(pattern)):
        text = file.read_text()
        for name, version, marker in re.findall(
            r"(?m)^([\w.-]+)(?:\[.*?\])?==([^\s;]+)(?: ; (.*?))? \\$", text
        ):
            if not marker or Marker(marker).evaluate():
                yield Package(canonicalize_name(name), version, str(file.relative_to(root)))


def locked_npm(root: Path) -> Iterator[tuple[Package, str]]:
    """Yield the locked npm packages with their licences."""
    file = root / "tests" / "package-lock.json"
    for path, entry in json.loads(file.read_text())["packages"].items():
        if path:  # the empty path is the project itself
            name = path.rpartition("node_modules/")[2]
            package = Package(name, entry["version"], str(file.relative_to(root)))
            yield package, entry.get("license", UNKNOWN)


def installed_licences(environments: Sequence[Path]) -> dict[tuple[str, str], str]:
    """Return the licences by name and version of all packages in the virtual environments."""
    folders = [str(folder) for each in environments for folder in each.glob("lib/*/site-packages")]
    return {
        (canonicalize_name(found.name), found.version): licence_of(found.metadata)
        for folder in folders
        for found in importlib.metadata.distributions(path=[folder])
    }


def licence_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """Return the licence in a package's metadata as an SPDX expression, or `unknown`.

    Several classifiers may mean a choice or a sum. The stricter reading is the sum.
    """
    fields = metadata.json
    expression = fields.get("license_expression")
    if expression:
        return str(expression)
    text = str(fields.get("license", "")).strip()
    text = _SPDX.get(text, text)
    if re.fullmatch(r"[\w.-]+", text) and text != "UNKNOWN":
        return text
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in fields.get("classifier", ())
        if each.startswith("License :: ") and each != "License :: OSI Approved"
    ]
    if classifiers:
        return " AND ".join(_SPDX.get(each, each) for each in classifiers)
    return text if text and len(text.splitlines()) == 1 else UNKNOWN


def main(environments: Sequence[str], root: Path = ROOT) -> int:
    """Print every locked package below its licence. Return 1 if a licence is refused, else 0."""
    rules = Rules.of_project(root)
    installed = installed_licences([root / each for each in environments])
    found = dict(locked_npm(root))
    for package in locked_python(root):
        key = package.name, package.version
        found[package] = rules.stated.get(package.name) or installed.get(key, NOT_INSTALLED)
    groups: dict[str, set[str]] = defaultdict(set)
    for package, licence in found.items():
        groups[licence].add(package.name)
    for licence, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        print(textwrap.fill(f"{licence}: {len(names)}", WIDTH))
        listed = ", ".join(sorted(names))
        print(
            textwrap.fill(
                listed,
                WIDTH,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
        )
    refused = {package: licence for package, licence in found.items() if not rules.allows(licence)}
    for package, licence in refused.items():
        refusal = f"refused: {package.name} {package.version} ({package.file}): {licence}"
        print(textwrap.fill(refusal, WIDTH, subsequent_indent="  "))
    if refused:
        print("Replace the package, or add its licence to tool.licences of pyproject.toml.")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
