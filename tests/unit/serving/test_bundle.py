import json
import os
from pathlib import Path

import pytest

from millrace.core.errors import RequestError
from millrace.serving.bundle import (
    LIMITS_BYTES,
    MANIFEST,
    MODEL,
    PROFILE,
    SAMPLE,
    Bundle,
    copy_bundle,
    open_bundle,
    read_listing,
)
from millrace.testing.models import linear_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return linear_bundle(tmp_path / "bundle")


def test_what_is_written_is_read(bundle: Bundle) -> None:
    again = open_bundle(bundle.directory)
    assert again.digest == bundle.digest
    assert again.manifest == bundle.manifest
    assert again.profile == bundle.profile
    assert again.sample is not None
    assert len(again.sample) == 64
    assert set(again.files) == {MANIFEST, MODEL, PROFILE, SAMPLE}
    assert again.model == bundle.directory / MODEL


def test_equal_content_has_an_equal_digest_anywhere(bundle: Bundle, tmp_path: Path) -> None:
    assert linear_bundle(tmp_path / "elsewhere").digest == bundle.digest
    assert linear_bundle(tmp_path / "other", weights=(1, 2, 3)).digest != bundle.digest


def test_a_copy_is_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy_bundle(bundle.directory, tmp_path / "copy")
    assert open_bundle(tmp_path / "copy").digest == bundle.digest


def test_a_listing_survives_its_form(bundle: Bundle) -> None:
    assert read_listing(bundle.listing, subject="test") == bundle.files


@pytest.mark.parametrize(
    "listing",
    [b"", b"[]", b'{"files":[]}', b'{"files":{"a":1}}', b'{"files":{"../../evil":{"bytes":1,"sha256":"x"}}}'],
)
def test_what_is_no_listing_is_refused(listing: bytes) -> None:
    with pytest.raises(RequestError, match=r"listing|no file of a bundle"):
        read_listing(listing, subject="test")


def test_a_symbolic_link_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (bundle.directory / MODEL).unlink()
    (bundle.directory / MODEL).symlink_to(secret)
    _refused_everywhere(bundle, tmp_path, r"cannot open .*model\.onnx as a regular file")


def test_a_hard_link_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (bundle.directory / MODEL).unlink()
    os.link(secret, bundle.directory / MODEL)
    _refused_everywhere(bundle, tmp_path, r"model\.onnx has 2 names")


def test_a_pipe_is_refused_and_not_waited_for(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.directory / MODEL).unlink()
    os.mkfifo(bundle.directory / MODEL)
    _refused_everywhere(bundle, tmp_path, "is no regular file")


def test_a_folder_in_place_of_a_file_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.directory / MODEL).unlink()
    (bundle.directory / MODEL).mkdir()
    _refused_everywhere(bundle, tmp_path, "is no regular file")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(bundle: Bundle, tmp_path: Path) -> None:
    os.truncate(bundle.directory / MODEL, LIMITS_BYTES[MODEL] + 1)  # sparse: takes no room
    _refused_everywhere(bundle, tmp_path, "more than 2147483647")


def test_an_unknown_file_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.directory / "run.py").write_text("print()")
    _refused_everywhere(bundle, tmp_path, "'run.py', which is no file of a bundle")


def test_a_missing_manifest_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.directory / MANIFEST).unlink()
    _refused_everywhere(bundle, tmp_path, r"has no manifest\.json")


def test_a_missing_model_is_refused(bundle: Bundle) -> None:
    (bundle.directory / MODEL).unlink()
    with pytest.raises(RequestError, match=r"runtime onnx without a model\.onnx"):
        open_bundle(bundle.directory)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere", "is no folder")


def test_another_profile_than_the_manifest_names_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = linear_bundle(tmp_path / "other", rows=99)
    (bundle.directory / PROFILE).write_bytes(other.profile.to_json())
    _refused(bundle.directory, "is not the profile that the manifest names")


def test_a_profile_of_other_features_is_refused(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "bundle")
    document = json.loads((bundle.directory / MANIFEST).read_text())
    document["signature"]["features"][0]["name"] = document["signature"]["inputs"][0]["features"][0] = "z"
    (bundle.directory / MANIFEST).write_text(json.dumps(document))
    _refused(bundle.directory, "different features")


@pytest.mark.parametrize(
    "sample", ["", "{", "[1]", '{"a":1}', '{"a":[1],"b":[1]}', '{"a":["x"],"b":[1],"c":[1]}', "[" * 100_000]
)
def test_a_sample_that_does_not_fit_is_refused(bundle: Bundle, sample: str) -> None:
    (bundle.directory / SAMPLE).write_text(sample)
    _refused(bundle.directory, r"sample\.json|feature|rows")


def test_a_folder_with_files_is_not_written_to(bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="is not empty"):
        linear_bundle(bundle.directory)


def _refused(directory: Path, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        open_bundle(directory)
    assert caught.value.remedy


def _refused_everywhere(bundle: Bundle, tmp_path: Path, words: str) -> None:
    _refused(bundle.directory, words)
    (tmp_path / "copy").mkdir()
    with pytest.raises(RequestError, match=words):
        copy_bundle(bundle.directory, tmp_path / "copy")
