from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from millrace.core.errors import RequestError
from millrace.serving.admission import admit, sniff_file


def network() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3), torch.nn.Softmax(dim=1))


@pytest.fixture(scope="module")
def fitted(iris: Any) -> torch.nn.Module:  # noqa: ANN401 - arrays
    rows, labels = map(torch.from_numpy, iris)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(torch.log(model(rows) + 1e-9), labels).backward()
        optimizer.step()
    return model


def test_the_task_is_learned(fitted: torch.nn.Module, learns_iris: Callable[[object], None]) -> None:
    learns_iris(fitted)


def test_a_network_answers_as_in_pytorch(fitted: torch.nn.Module, iris: Any, to_bundle: Any, score: Any) -> None:  # noqa: ANN401
    rows, _ = iris
    bundle = to_bundle(fitted, rows, classes=("a", "b", "c"))
    with torch.no_grad():
        expected = fitted(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(score(bundle, rows).scores, expected, atol=1e-5)


def test_a_network_of_logits_is_refused_with_the_remedy(iris: Any, to_bundle: Any) -> None:  # noqa: ANN401
    logits = network()[:-1]
    with pytest.raises(RequestError, match=r"no probabilities .*softmax"):
        to_bundle(logits, iris[0], classes=("a", "b", "c"))


def test_a_convolution_takes_images(to_bundle: Any) -> None:  # noqa: ANN401
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2), torch.nn.Softmax(dim=1)
    )
    images = np.random.default_rng(1).normal(size=(20, 1, 8, 8)).astype(np.float32)
    bundle = to_bundle(model, {"image": images}, classes=("cat", "dog"))
    assert bundle.signature.features[0].shape == (1, 8, 8)
    assert admit(bundle) is not None


def test_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "model.pt")
    with pytest.raises(RequestError, match="weights_only"):
        sniff_file(tmp_path / "model.pt")
