"""A model bundle: a folder of few, known, regular files, addressed by the digest of their listing.

=================  ======================================================================
`manifest.json`    what must be known about the model (`millrace.serving.manifest`)
`profile.json`     its reference profile (`millrace.core.profile`)
`model.onnx`       the model; absent for a Python function
`transform.json`   the fitted transform that it was trained with; absent where records are its features
`sample.json`      a few feature rows for warm-up and admission; optional
=================  ======================================================================

The listing is a JSON object with the size and sha256 of each file, sorted by name. Its own sha256 is the bundle's
digest, so equal bundles have equal digests wherever they lie, and a changed file is a different bundle.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.profile import ReferenceProfile
from millrace.core.signature import Signature
from millrace.serving.manifest import Manifest, RuntimeKind
from millrace.serving.rows import columns_from_json, columns_to_json
from millrace.serving.transforming import accepted_signature, check_fits
from millrace.transform import Program

MODEL: Final = "model.onnx"
MANIFEST: Final = "manifest.json"
PROFILE: Final = "profile.json"
SAMPLE: Final = "sample.json"
TRANSFORM: Final = "transform.json"

LIMITS_BYTES: Final[Mapping[str, int]] = {
    MODEL: (1 << 31) - 1,  # more than protobuf can hold
    MANIFEST: 4 << 20,
    PROFILE: 64 << 20,
    SAMPLE: 64 << 20,
    TRANSFORM: 4 << 20,
}
"""The files that a bundle may have, and how large each may be."""

LISTING_LIMIT_BYTES: Final = 4096
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and content of one file of a bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: read, checked, and consistent in itself.

    Attributes:
        directory: Where it lies.
        manifest: What it says about its model.
        signature: The manifest's signature: the model's own.
        profile: The reference profile.
        sample: A few rows of features, or None.
        files: Every file by name.
        program: The transform that it was trained with, or None.
    """

    directory: Path
    manifest: Manifest
    signature: Signature
    profile: ReferenceProfile
    sample: FeatureColumns | None
    files: Mapping[str, FileEntry]
    program: Program | None = None

    @property
    def accepts(self) -> Signature:
        """What records bring: the model's features, or its transform's input columns; and what they are answered.

        Raises:
            RequestError: A column of the transform may be missing that a record cannot leave out.
        """
        return self.signature if self.program is None else accepted_signature(self.program, self.signature)

    def program_for(self, given: Program | None) -> Program | None:
        """The transform to score with: the model's own, or where it has none the one that is given.

        Raises:
            RequestError: Another one is given than the model was trained with, or one that does not make its features
                row by row.
        """
        own = self.program
        if own is not None and given is not None and own.fingerprint != given.fingerprint:
            raise RequestError(
                f"the transform that is given is {given.fingerprint}, and {self.manifest.name} was trained with "
                f"{own.fingerprint}",
                remedy="give none: the model has its own",
            )
        if own is None and given is not None:
            check_fits(given, self.signature)
        return given if own is None else own

    @property
    def digest(self) -> str:
        """`sha256:` and the sha256 of the listing."""
        return f"sha256:{hashlib.sha256(self.listing).hexdigest()}"

    @property
    def listing(self) -> bytes:
        """The canonical listing of the files."""
        return write_listing(self.files)

    @property
    def model(self) -> Path | None:
        """The model's file; None for a Python function."""
        return self.directory / MODEL if MODEL in self.files else None


def write_listing(files: Mapping[str, FileEntry]) -> bytes:
    """The canonical listing: equal files give equal bytes."""
    document = {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in files.items()}
    return json.dumps({"files": document, "format": 1}, sort_keys=True, separators=(",", ":")).encode()


def read_listing(data: bytes, *, subject: str) -> dict[str, FileEntry]:
    """Read what `write_listing` wrote.

    Raises:
        RequestError: It is no listing, or names a file that no bundle has.
    """
    try:
        entries = json.loads(data)["files"]
        files = {name: FileEntry(int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{subject} is no listing of a bundle: {error!r}", remedy="push the model again") from None
    _check_names(files, subject)
    return files


def open_bundle(directory: Path) -> Bundle:
    """Read and check a bundle. The model itself is not loaded.

    Raises:
        RequestError: The folder is no bundle: a file is missing, unknown, too large, no regular file or has a second
            name (hard link), a document is broken, or the documents contradict each other.
    """
    if not directory.is_dir():
        raise RequestError(f"{directory} is no folder", remedy="give the folder that millrace.serving.export wrote")
    names = sorted(entry.name for entry in directory.iterdir())
    _check_names(names, str(directory))
    files = {name: _measure(directory / name, limit_bytes=LIMITS_BYTES[name]) for name in names}
    manifest = Manifest.from_json(_read(directory / MANIFEST), subject=str(directory / MANIFEST))
    _check_model(manifest, directory, has_model=MODEL in files)
    signature = manifest.signature.signature()
    profile = ReferenceProfile.from_json(_read(directory / PROFILE))
    if profile.id != manifest.profile:
        raise RequestError(
            f"{directory / PROFILE} is not the profile that the manifest names", remedy="export the model again"
        )
    Binner(profile, signature)
    sample = None
    if SAMPLE in files:
        sample = columns_from_json(signature, _read(directory / SAMPLE), subject=str(directory / SAMPLE))
    program = _read_program(directory, manifest, has_transform=TRANSFORM in files)
    if program is not None:
        check_fits(program, signature)
    return Bundle(directory, manifest, signature, profile, sample, files, program)


def attach_transform(bundle: Bundle, program: Program) -> Bundle:
    """Write into a bundle's folder which transform its model was trained with, and open it again.

    Raises:
        RequestError: It has another one already, or this one does not make the model's features.
    """
    named = bundle.manifest.transform
    if named == program.fingerprint:
        return bundle
    if named is not None:
        raise RequestError(
            f"the model {bundle.manifest.name!r} was trained with the transform {named}, not {program.fingerprint}",
            remedy="push it without naming a transform: its bundle has its own",
        )
    check_fits(program, bundle.signature)
    text = json.dumps(program.document(), indent=1, sort_keys=True, ensure_ascii=False)
    (bundle.directory / TRANSFORM).write_text(text + "\n", encoding="utf-8")
    manifest = bundle.manifest.model_copy(update={"transform": program.fingerprint})
    (bundle.directory / MANIFEST).write_bytes(manifest.to_json())
    return open_bundle(bundle.directory)


def write_bundle(
    directory: Path,
    manifest: Manifest,
    profile: ReferenceProfile,
    *,
    model: bytes | None,
    sample: FeatureColumns | None,
) -> Bundle:
    """Write a bundle into a folder that is empty or does not exist yet, and open it.

    Raises:
        RequestError: The folder has files, cannot be written, or the parts contradict each other.
    """
    parts = {
        MANIFEST: manifest.to_json(),
        PROFILE: profile.to_json(),
        MODEL: model,
        SAMPLE: None if sample is None else columns_to_json(sample),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RequestError(f"{directory} is not empty", remedy="name a folder that does not exist yet")
        for name, content in parts.items():
            if content is not None:
                (directory / name).write_bytes(content)
    except OSError as error:
        raise RequestError(
            f"cannot write {directory}: {error.strerror}", remedy="name a folder you may write"
        ) from None
    return open_bundle(directory)


def copy_bundle(source: Path, target: Path) -> None:
    """Copy the files of a bundle into an empty folder of one's own, byte for byte what was checked while copying.

    What is copied cannot change any more under the feet of checks that follow.

    Raises:
        RequestError: As for `open_bundle`, as far as files and their names are concerned.
    """
    if not source.is_dir():
        raise RequestError(f"{source} is no folder", remedy="give the folder that millrace.serving.export wrote")
    names = sorted(entry.name for entry in source.iterdir())
    _check_names(names, str(source))
    for name in names:
        with (
            open_regular(source / name, limit_bytes=LIMITS_BYTES[name]) as reader,
            (target / name).open("xb") as writer,
        ):
            _copy(reader, writer, limit_bytes=LIMITS_BYTES[name], subject=source / name)


def open_regular(path: Path, *, limit_bytes: int) -> IO[bytes]:
    """Open a regular file that has one name and a bounded size. Never follows a link, never waits on a pipe.

    Raises:
        RequestError: It is something else, too large, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RequestError(
            f"cannot open {path} as a regular file: {error.strerror}", remedy="copy the file itself into the bundle"
        ) from None
    found = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif found.st_nlink > 1:
        problem = f"has {found.st_nlink} names (hard links)"
    elif found.st_size > limit_bytes:
        problem = f"has {found.st_size} bytes, more than {limit_bytes}"
    if problem:
        os.close(descriptor)
        raise RequestError(f"{path} {problem}", remedy="copy the file itself into the bundle")
    return os.fdopen(descriptor, "rb")


def _check_names(names: Mapping[str, FileEntry] | list[str], subject: str) -> None:
    unknown = sorted(set(names) - set(LIMITS_BYTES))
    if unknown:
        raise RequestError(
            f"{subject} has {unknown[0]!r}, which is no file of a bundle",
            remedy=f"a bundle has {', '.join(sorted(LIMITS_BYTES))} and nothing else",
        )
    missing = sorted({MANIFEST, PROFILE} - set(names))
    if missing:
        raise RequestError(f"{subject} has no {missing[0]}", remedy="export the model with millrace.serving.export")


def _check_model(manifest: Manifest, directory: Path, *, has_model: bool) -> None:
    if has_model != (manifest.runtime is RuntimeKind.ONNX):
        raise RequestError(
            f"{directory} is a bundle of the runtime {manifest.runtime} {'with' if has_model else 'without'} a {MODEL}",
            remedy="export the model again",
        )


def _read_program(directory: Path, manifest: Manifest, *, has_transform: bool) -> Program | None:
    """The transform of a bundle, where it has one; the manifest and the file must agree."""
    if has_transform != (manifest.transform is not None):
        raise RequestError(
            f"{directory} {'has a' if has_transform else 'lacks the'} {TRANSFORM}, of which its manifest says "
            f"{manifest.transform}",
            remedy="push the model again: millrace model push FOLDER --transform NAME/VERSION",
        )
    if not has_transform:
        return None
    subject = str(directory / TRANSFORM)
    try:
        program = Program.load(json.loads(_read(directory / TRANSFORM)), subject=subject)
    except (ValueError, RecursionError, AttributeError) as error:
        raise RequestError(f"{subject} is no fitted transform: {error}", remedy="export it again") from None
    if program.fingerprint != manifest.transform:
        raise RequestError(
            f"{subject} is not the transform that the manifest names: its fingerprint is {program.fingerprint}",
            remedy="push the model again",
        )
    return program


def _measure(path: Path, *, limit_bytes: int) -> FileEntry:
    digest = hashlib.sha256()
    size = 0
    with open_regular(path, limit_bytes=limit_bytes) as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())


def _read(path: Path) -> bytes:
    with open_regular(path, limit_bytes=LIMITS_BYTES[path.name]) as reader:
        return reader.read()


def _copy(reader: IO[bytes], writer: IO[bytes], *, limit_bytes: int, subject: Path) -> None:
    left = limit_bytes
    while chunk := reader.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise RequestError(f"{subject} grew beyond {limit_bytes} bytes while it was read", remedy="try again")
        writer.write(chunk)
