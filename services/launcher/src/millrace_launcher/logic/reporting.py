"""What a node says about a process, from what it ran and what the process says."""

from dataclasses import replace

from millrace.core.control.fleet import Process, ProcessState
from millrace_launcher.logic.ports import Running


def describe(node: str, running: Running, before: Process | None, *, is_ready: bool, said: str, now_ms: int) -> Process:
    """The process as others are told.

    Args:
        node: This node.
        running: What the runner knows.
        before: What was told about the slot before.
        is_ready: Whether the process says that it does its work.
        said: The reason that it gives.
        now_ms: The time, milliseconds since 1970.
    """
    is_same = before is not None and before.launch == running.launch
    ready_ms = before.ready_ms if is_same and before is not None else None
    process = Process(
        slot=running.slot,
        node=node,
        launch=running.launch,
        state=ProcessState.STARTING,
        pid=running.pid,
        url=running.url,
        started_ms=running.started_ms,
        ready_ms=ready_ms,
        asked=running.is_draining,
    )
    if running.has_ended:
        return replace(
            process,
            state=ProcessState.ENDED,
            ended_ms=running.ended_ms,
            exit_code=running.exit_code,
            why=running.why,
        )
    if running.is_draining:
        return replace(process, state=ProcessState.DRAINING, why="it finishes what it has in hand")
    if is_ready:
        return replace(process, state=ProcessState.READY, ready_ms=ready_ms or now_ms, why=said)
    return replace(process, state=ProcessState.STARTING if ready_ms is None else ProcessState.UNREADY, why=said)
