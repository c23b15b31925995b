"""The contract of runners, on processes of this machine and on none at all."""

from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from runner_contract import Bench, RunnerContract, python_program

from millrace.core.errors import RequestError
from millrace_launcher.adapters import plugins
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.adapters.plugins import load_runner


class TestRunners(RunnerContract):
    """The local runner, and a fake one that a package adds."""

    @pytest.fixture(params=["local", "fake"])
    def bench(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
        """A runner of its own for each test."""
        folder = NodeFolder(tmp_path, "a")
        folder.path.mkdir(parents=True)
        folder.renew(1e9, timedelta(days=1))
        added = EntryPoints([EntryPoint("fake", "fake_runner:make_fake", plugins.RUNNERS)])
        monkeypatch.setattr(plugins, "entry_points", lambda **_: added)
        runner = load_runner(request.param)(folder)
        with Bench(runner, python_program if request.param == "local" else _by_name).closing() as made:
            yield made


def _by_name(what: str) -> tuple[str, ...]:
    return (what,)


def test_a_runner_that_nobody_knows_is_refused_with_the_list() -> None:
    with pytest.raises(RequestError, match="no runner 'cloud'") as refused:
        load_runner("cloud")
    assert refused.value.remedy == "known runners: container, kubernetes, local"
