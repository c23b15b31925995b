import pickle

import pytest

from millrace.core.errors import FatalError, InvalidRecordError, MillraceError, Reason, RequestError, TransientError


@pytest.mark.parametrize(
    "error",
    [
        MillraceError("m", remedy="r"),
        InvalidRecordError(Reason.WRONG_TYPE, "field 'a' is text"),
        TransientError("broker away"),
        FatalError("fenced", remedy="restart"),
        RequestError("no topic 'x'", remedy="create it"),
    ],
)
def test_errors_survive_pickling(error: MillraceError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_the_text_names_what_is_wrong_and_the_remedy() -> None:
    assert str(FatalError("no topic 'x'", remedy="create it")) == "no topic 'x' (create it)"
    assert str(InvalidRecordError(Reason.EMPTY, "0 bytes")) == "empty: 0 bytes"
