"""The list of deliberate faults fits the code: each text to replace stands exactly once in its file."""

import pytest

from tools.mutants import FAULTS, ROOT, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_made(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text().count(fault.right) == 1
    for path in (part for part in fault.tests.split() if part.startswith("tests/")):
        assert (ROOT / path.partition("::")[0]).exists(), path
