"""How commands end, and that their help helps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from millrace.cli.app import app, run

Capture = pytest.CaptureFixture[str]


def command_paths() -> Iterator[tuple[str, ...]]:
    """Every command and group, as the words that a person types."""

    def below(path: tuple[str, ...], node: object) -> Iterator[tuple[str, ...]]:
        yield path
        for name, child in getattr(node, "commands", {}).items():
            yield from below((*path, name), child)

    return below((), get_command(app))


@pytest.fixture(autouse=True)
def wide_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))


@pytest.mark.parametrize("path", sorted(command_paths()), ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...], capsys: Capture) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: millrace" in shown
    if path:
        assert f"$ millrace {' '.join(path)}" in shown or f"| millrace {' '.join(path)}" in shown


@pytest.mark.parametrize("path", sorted(command_paths()), ids=" ".join)
def test_every_option_is_described(path: tuple[str, ...]) -> None:
    node = get_command(app)
    for word in path:
        node = node.commands[word]  # type: ignore[attr-defined]
    undescribed = [parameter.name for parameter in node.params if not getattr(parameter, "help", "")]
    assert undescribed == []


def test_leaf_commands_all_speak_json() -> None:
    silent = []
    for path in command_paths():
        node = get_command(app)
        for word in path:
            node = node.commands[word]  # type: ignore[attr-defined]
        if not hasattr(node, "commands") and "json" not in {parameter.name for parameter in node.params}:
            silent.append(path)
    assert silent == []


def test_an_error_is_two_lines_and_exit_code_1(capsys: Capture) -> None:
    assert run(["watch", "rain"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: no broker is named, and no local one runs",
        "remedy: run `millrace up`, or name one: --bootstrap HOST:PORT or MILLRACE_KAFKA__BOOTSTRAP",
    ]


def test_a_wrong_command_line_is_exit_code_2(capsys: Capture) -> None:
    assert run(["watch"]) == 2
    assert "Missing argument" in capsys.readouterr().err
    assert run(["fly"]) == 2
    assert run(["up", "--port", "nine"]) == 2


def test_a_wrong_environment_names_the_variable(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", "nonsense")
    assert run(["watch", "rain"]) == 1
    assert "MILLRACE_KAFKA__BOOTSTRAP" in capsys.readouterr().err


def test_errors_keep_their_traceback_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DEBUG", "1")
    with pytest.raises(Exception, match="no broker is named"):
        run(["watch", "rain"])


def test_a_fault_of_ours_is_said_in_two_lines_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(typer.Typer, "__call__", faulty)
    assert run(["version"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: millrace failed: ZeroDivisionError: division by zero",
        "remedy: run again with MILLRACE_DEBUG=1 for the traceback, and report it",
    ]


def test_nothing_is_coloured_in_a_pipe(capsys: Capture) -> None:
    run(["status"])
    run(["watch", "rain"])
    run(["--help"])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
