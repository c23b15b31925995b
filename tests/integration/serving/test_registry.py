import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from millrace.core.errors import FatalError, RequestError
from millrace.kafka.history import read_history
from millrace.serving.loading import load
from millrace.serving.refusal import ModelRefusedError
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.store.blobs import BlobStore
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually


@pytest.fixture
def name() -> str:
    return f"loans-{uuid4().hex[:8]}"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(BlobStore(str(tmp_path / "blobs")), tmp_path / "models")


@pytest.fixture
def registry(broker: Broker, shelf: Shelf) -> Iterator[Registry]:
    with Registry(broker.kafka, shelf, who="test") as registry:
        yield registry


def test_the_life_of_a_model(registry: Registry, name: str, tmp_path: Path, broker: Broker) -> None:
    first = registry.push(linear_bundle(tmp_path / "1", name=name).directory)
    second = registry.push(linear_bundle(tmp_path / "2", name=name, weights=(1, 2, 3)).directory)
    assert (first.key, second.key) == (f"{name}/1", f"{name}/2")
    assert first.batch_invariant
    assert registry.resolve(name) == first
    assert registry.versions(name) == (first, second)

    assert registry.set_alias("champion", f"{name}/2") == second
    assert registry.resolve(f"{name}@champion") == second
    assert registry.aliases(name) == {"champion": 2}

    entry, bundle = registry.open(name)
    assert entry == second
    assert bundle.digest == second.digest
    assert bundle.manifest.invariance is not None
    load(bundle, version=entry.version).close()

    done = [record.entry.what for record in read_history(broker.kafka, subject=f"model/{name}")]
    assert done == ["push version", "push version", "move alias"]


def test_the_same_bundle_is_the_same_version(registry: Registry, name: str, tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "bundle", name=name)
    assert registry.push(bundle.directory) == registry.push(bundle.directory)
    assert len(registry.versions(name)) == 1


def test_another_machine_fetches_what_it_needs(registry: Registry, name: str, tmp_path: Path, broker: Broker) -> None:
    entry = registry.push(linear_bundle(tmp_path / "bundle", name=name).directory)
    elsewhere = Shelf(registry.shelf.blobs, tmp_path / "other machine")
    with Registry(broker.kafka, elsewhere, who="test") as other:
        found, bundle = other.open(name)
    assert found == entry
    assert bundle.directory.parent == tmp_path / "other machine"


def test_a_damaged_blob_is_noticed_and_a_push_repairs_it(registry: Registry, name: str, tmp_path: Path) -> None:
    source = linear_bundle(tmp_path / "bundle", name=name)
    entry = registry.push(source.directory)
    for blob in (tmp_path / "blobs").rglob("*"):
        if blob.is_file():
            blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(FatalError, match=r"is damaged .*push the model again"):
        registry.open(name)
    assert registry.push(source.directory) == entry
    assert registry.open(name)[1].digest == entry.digest


def test_a_copy_that_was_changed_is_not_used(registry: Registry, name: str, tmp_path: Path) -> None:
    registry.push(linear_bundle(tmp_path / "bundle", name=name).directory)
    _, bundle = registry.open(name)
    other = linear_bundle(tmp_path / "other", name=name, weights=(3, 2, 1))
    assert bundle.model is not None
    assert other.model is not None
    bundle.model.write_bytes(other.model.read_bytes())
    with pytest.raises(RequestError, match="was changed after it was fetched"):
        registry.open(name)


def test_what_is_refused_is_not_stored(registry: Registry, name: str, tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "bundle", name=name)
    assert bundle.model is not None
    bundle.model.write_bytes(b"\x80\x04 pickle")
    with pytest.raises(ModelRefusedError, match="pickle"):
        registry.push(bundle.directory)
    assert registry.versions(name) == ()
    assert not (tmp_path / "blobs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\x80\x04 pickle", "refused, pickle"), (b"\x08\x09\x12\x04test", "is a model without a manifest")],
)
def test_a_bare_file_is_answered_with_the_remedy(
    registry: Registry, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=words) as caught:
        registry.push(path)
    assert "millrace.serving.export" in caught.value.remedy


def test_curves_are_kept_by_device(registry: Registry, name: str, tmp_path: Path) -> None:
    entry = registry.push(linear_bundle(tmp_path / "bundle", name=name).directory)
    for curve in ({"cells": [1]}, {"cells": [2]}):
        registry.save_curve(entry, "cpu", curve)
    assert registry.curves(entry) == {"cpu": {"cells": [2]}}


def test_who_follows_hears_of_a_moved_alias(registry: Registry, name: str, tmp_path: Path, broker: Broker) -> None:
    for number in (1, 2):
        registry.push(linear_bundle(tmp_path / str(number), name=name, weights=(number, 0, 0)).directory)
    heard: list[object] = []
    changed = threading.Event()

    with Registry(broker.kafka, registry.shelf, who="test") as follower:

        def on_change(table: object) -> None:
            heard.append(table)
            changed.set()

        follower.follow(on_change)
        registry.set_alias("champion", f"{name}/2")
        eventually(lambda: changed.is_set() and follower.resolve(name).version == 2, within=timedelta(seconds=120))
    assert heard
