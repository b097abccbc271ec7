"""What all tests together have made: valid by its schema, and every label and diagnostic of the documents among it."""

from __future__ import annotations

import pytest

from mixeff_fast.schemas.catalogue import CATALOGUE
from mixeff_fast.schemas.registry import known_schemas
from mixeff_fast.schemas.reserved import RESERVED
from tests.emissions import EMISSIONS, SCHEMAS, Label, documented


def labels(status: str) -> set[Label]:
    return {
        label for known in known_schemas() if known.status == status for label in documented(SCHEMAS[known.schema_name])
    }


def reserved() -> set[Label]:
    codes = {("Diagnostic.code", entry.code) for entry in CATALOGUE.values() if entry.reserved}
    return codes | {(place, label) for place, reasons in RESERVED.items() for label in reasons}


def test_every_artifact_is_valid_by_its_schema() -> None:
    assert list(EMISSIONS.problems) == []


def test_reserved_labels_are_documented_and_not_emitted() -> None:
    assert reserved() - labels("emitted") == set()
    assert reserved() & EMISSIONS.labels == set()


@pytest.mark.whole_session
def test_every_schema_in_use_was_emitted() -> None:
    assert set(EMISSIONS.artifacts) == {known.schema_name for known in known_schemas() if known.status == "emitted"}


@pytest.mark.whole_session
def test_every_label_was_emitted_or_is_reserved() -> None:
    assert sorted(labels("emitted") - EMISSIONS.labels - reserved()) == []


@pytest.mark.whole_session
def test_reachable_diagnostics_are_the_catalogue() -> None:
    found = {label for place, label in EMISSIONS.labels if place == "Diagnostic.code"}
    assert found == {entry.code for entry in CATALOGUE.values() if not entry.reserved}
