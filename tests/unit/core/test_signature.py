import pytest

from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task

A, B = Feature("a"), Feature("b")


def test_features_and_inputs_must_agree() -> None:
    with pytest.raises(RequestError, match="exactly one input"):
        Signature((A, B), (ModelInput("x", ("a",)),), Task.REGRESSION, "y")


def test_only_scalars_of_one_type_are_stacked() -> None:
    with pytest.raises(RequestError, match="different types"):
        Signature((A, Feature("n", DType.INT64)), (ModelInput("x", ("a", "n")),), Task.REGRESSION, "y")
    with pytest.raises(RequestError, match="with shapes"):
        Signature((A, Feature("t", shape=(3,))), (ModelInput("x", ("a", "t")),), Task.REGRESSION, "y")


@pytest.mark.parametrize(("task", "classes"), [(Task.BINARY, ("a",)), (Task.MULTICLASS, ()), (Task.REGRESSION, ("a",))])
def test_the_number_of_classes_follows_the_task(task: Task, classes: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="classes"):
        Signature((A,), (ModelInput("x", ("a",)),), task, "y", classes=classes)


def test_names_are_unique_and_known() -> None:
    with pytest.raises(RequestError, match="one name"):
        Signature((A, A), (ModelInput("x", ("a", "a")),), Task.REGRESSION, "y")
    assert Signature((A, B), (ModelInput("x", ("a", "b")),), Task.REGRESSION, "y").feature("b") is B


def test_only_floats_are_nullable_and_strings_are_single() -> None:
    with pytest.raises(RequestError, match="nullable"):
        Feature("n", DType.INT64, nullable=True)
    with pytest.raises(RequestError, match="tensor of strings"):
        Feature("s", DType.STRING, shape=(2,))
    assert Feature("t", shape=(2, 3)).elements == 6
