"""The public names of the three packages, compared with a committed list.

To change the public surface on purpose, edit `public_api.txt`.
"""

import importlib
from pathlib import Path

import pytest

PACKAGES = ("agentevo", "agentevo_memory", "agentevo_environments")
SNAPSHOT = Path(__file__).with_name("public_api.txt")
MOST_NAMES = 20


def public_names(package: str) -> list[str]:
    return sorted(getattr(importlib.import_module(package), "__all__", []))


def test_the_public_surface_is_the_one_that_was_agreed() -> None:
    actual = "".join(
        f"{package}.{name}\n" for package in PACKAGES for name in public_names(package)
    )
    assert actual == SNAPSHOT.read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_offers_few_names_and_each_of_them_exists(package: str) -> None:
    names = public_names(package)
    module = importlib.import_module(package)
    assert 0 < len(names) <= MOST_NAMES
    assert [name for name in names if not hasattr(module, name)] == []
