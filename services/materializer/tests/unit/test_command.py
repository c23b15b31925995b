"""The command line, and what it asks of the app."""

from pathlib import Path

import pytest

from millrace_materializer.__main__ import main


def test_a_topic_is_required_and_a_ttl_is_at_least_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in (
        ([], "--topic"),
        (["--topic", "t", "--ttl-secs", "0"], "must be at least 1"),
        (["--topic", "t", "--ttl-secs", "day"], "invalid"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert complaint in capsys.readouterr().err


def test_without_an_online_store_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.delenv("MILLRACE_REDIS__URL", raising=False)
    assert main(["--topic", "stations.features"]) == 2
    said = "".join(capfd.readouterr())
    assert "stations.features is to be kept in the online store, but none is named" in said
    assert "millrace up --redis" in said
