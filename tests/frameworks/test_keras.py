from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.serving.admission import sniff_file


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3, activation="softmax")]
    )


@pytest.fixture(scope="module")
def fitted(iris: Any) -> keras.Model:  # noqa: ANN401 - arrays
    model = network()
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*iris, epochs=60, verbose=0)
    return model


def test_the_task_is_learned(fitted: keras.Model, learns_iris: Callable[[object], None]) -> None:
    learns_iris(fitted)


def test_a_network_answers_as_in_keras(fitted: keras.Model, iris: Any, to_bundle: Any, score: Any) -> None:  # noqa: ANN401
    rows, _ = iris
    bundle = to_bundle(fitted, rows, classes=("a", "b", "c"))
    np.testing.assert_allclose(score(bundle, rows).scores, fitted.predict(rows, verbose=0), atol=1e-5)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    network().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(RequestError, match="weights_only"):
        sniff_file(tmp_path / "model.weights.h5")
