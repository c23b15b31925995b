"""JupyterLab's command line; where it is not installed, the first line of its job says so."""

import pytest

from millrace_launcher import notebook
from millrace_launcher.logic.kinds import BUILT_IN


def test_it_listens_here_alone_on_the_port_that_the_launcher_asks() -> None:
    words = notebook.command(["--ServerApp.root_dir=years"], {notebook.PORT: "4711"})
    assert words[1:3] == ["-m", "jupyterlab"]
    assert {"--ServerApp.ip=127.0.0.1", "--ServerApp.port=4711", "--ServerApp.root_dir=years"} <= set(words)


def test_without_jupyterlab_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "_MODULE", "no_such_laboratory")
    with pytest.raises(SystemExit, match=r"pip install 'millrace\[notebook\]'"):
        notebook.main()


def test_the_kind_runs_this_module() -> None:
    [kind] = [each for each in BUILT_IN if each.name == "notebook"]
    assert kind.program("python") == ("python", "-m", notebook.__name__)
