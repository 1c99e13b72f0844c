"""Which ditproof this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str = "ditproof") -> str | None:
    """The version of an installed package; None where it runs from its sources, or is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
