"""Which URIs a place may have."""

from pathlib import Path

import pytest

from millrace.core.errors import RequestError
from millrace.store.places import Place


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1/years",
        "HTTP://127.0.0.1:1/years",
        "https://169.254.169.254/latest/meta-data",
        "ftp://127.0.0.1/years",
        "sftp://127.0.0.1/years",
        "ssh://127.0.0.1/years",
        "smb://127.0.0.1/years",
        "webhdfs://127.0.0.1/years",
        "reference://a.json",
        "simplecache::http://127.0.0.1:1/years.csv",
        "filecache::https://127.0.0.1:1/years.csv",
        "zip://years.csv::http://127.0.0.1:1/years.zip",
    ],
)
def test_no_uri_leads_to_a_host_that_it_names(uri: str) -> None:
    with pytest.raises(RequestError, match="neither a folder nor in a store of objects"):
        Place(uri)


def test_folders_and_stores_of_objects_are_places(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    for uri in (str(tmp_path), tmp_path.as_uri()):
        assert [Path(file.path).name for file in Place(uri).files()] == ["a.csv"]
    assert Place("memory://years").root == "/years"
