"""What the fleet's topics hold is read back as it was written."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.core.control.fleet import Assignment, Heartbeat, Inventory, Process, Slot
from millrace.process.fleet import ASSIGNMENTS, HEARTBEATS, PROCESSES

slots = st.builds(Slot, st.from_regex(r"[a-z0-9-]{1,9}", fullmatch=True), st.just("scorer"), st.integers(0, 99))

inventories = st.builds(
    Inventory,
    st.floats(0, 1e6),
    st.integers(0, 2**60),
    libraries=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@given(st.builds(Assignment, slot=slots))
def test_assignments(value: Assignment) -> None:
    assert ASSIGNMENTS.read(ASSIGNMENTS.write(value), subject="a test") == value


@given(st.builds(Process, slot=slots))
def test_processes(value: Process) -> None:
    assert PROCESSES.read(PROCESSES.write(value), subject="a test") == value


@given(st.builds(Heartbeat, inventory=inventories))
def test_heartbeats(value: Heartbeat) -> None:
    assert HEARTBEATS.read(HEARTBEATS.write(value), subject="a test") == value


@given(slots)
def test_slots(slot: Slot) -> None:
    assert Slot.parse(str(slot)) == slot
