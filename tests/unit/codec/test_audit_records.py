"""What a label may say."""

import numpy as np

from millrace.codec.audit_records import truths


def test_a_class_is_said_by_its_name_or_by_what_the_name_spells() -> None:
    said = truths(("0", "1"))
    assert [said.get(each, -1.0) for each in ("0", 0, False, 0.0, "1", 1, True, 1.0)] == [0.0] * 4 + [1.0] * 4
    assert truths(("False", "True"))[True] == 1.0
    assert said.get("2", -1.0) == said.get(np.nan, -1.0) == -1.0
    assert 1 not in truths(("no", "yes"))
