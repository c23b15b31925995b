"""The story's node: the launcher that runs the parts of the loop, and says when they are ready and when one fails."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from millrace.client.control import ControlClient
from millrace.client.node import start_node, stop_node
from millrace.core.errors import FatalError
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings

_READY_WITHIN: Final = timedelta(minutes=5)
"""On a machine that is busy with something else; what cannot work is said at once."""
_BEYOND_HELP: Final = frozenset({"failed", "invalid"})


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the launcher runs for the story.

    Attributes:
        control: The launcher's API.
    """

    control: ControlClient

    @property
    def page(self) -> str:
        """The address of the launcher's pages, which signs the reader in."""
        return self.control.sign_in_address()

    def check(self) -> None:
        """Do nothing while the launcher can help: it starts again what ends.

        Raises:
            FatalError: A part ended again and again; the error has its reason.
        """
        for found in self.control.deployments():
            if found["state"] in _BEYOND_HELP:
                raise FatalError(f"{found['deployment']} is {found['state']}: {found['why']}", remedy="see its log")


@contextmanager
def launched(
    deployments: Sequence[Deployment],
    *,
    kafka: KafkaSettings,
    home: Path,
    port: int | None,
    keep: bool,
    pause: Callable[[float], None],
) -> Iterator[Fleet]:
    """A node with the deployments, all of them ready, until the block ends.

    Args:
        deployments: What to run.
        kafka: The cluster.
        home: The folder of model files, and of the node.
        port: Of the launcher's API; 9008 or else any where None, any where 0.
        keep: Whether the node goes on when all went well.
        pause: Sleeps between two looks at what is not ready; raises where it is to wait no more.

    Raises:
        FatalError: The node's daemon ended.
        RequestError: A document is refused, or a part crashed again and again.
        TransientError: Something is not ready in time; the error has its reason.
    """
    try:
        node = start_node(home, port=port, bootstrap=kafka.bootstrap)
        with ControlClient(node.url, home=home) as control:
            for each in deployments:
                control.put(each.deployment, each.document())
            for each in deployments:
                control.wait_ready(each.deployment, within=_READY_WITHIN, pause=pause)
            yield Fleet(control)
    except BaseException:
        stop_node(home)
        raise
    if not keep:
        stop_node(home)
