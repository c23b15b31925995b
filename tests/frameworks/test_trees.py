from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier, XGBRegressor


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=500),
        LGBMClassifier(n_estimators=30, verbose=-1, n_jobs=1),
        XGBClassifier(n_estimators=30, n_jobs=1),
    ],
    ids=["scikit-learn", "lightgbm", "xgboost"],
)
def test_the_task_is_learned(estimator: Any, iris: Any, learns_iris: Callable[[object], None]) -> None:  # noqa: ANN401
    learns_iris(estimator.fit(*iris))


def test_a_binary_model_answers_as_in_xgboost(iris: Any, to_bundle: Any, score: Any) -> None:  # noqa: ANN401
    rows, labels = iris
    estimator = XGBClassifier(n_estimators=20, n_jobs=1).fit(rows, labels > 0)
    bundle = to_bundle(estimator, rows, labels=labels > 0, classes=(False, True))
    np.testing.assert_allclose(score(bundle, rows).scores, estimator.predict_proba(rows), atol=1e-5)


def test_a_regression_answers_as_in_xgboost(iris: Any, to_bundle: Any, score: Any) -> None:  # noqa: ANN401
    rows, _ = iris
    features = np.ascontiguousarray(rows[:, :3])
    estimator = XGBRegressor(n_estimators=20, n_jobs=1).fit(features, rows[:, 3])
    bundle = to_bundle(estimator, features, labels=rows[:, 3])
    np.testing.assert_allclose(score(bundle, features).scores, estimator.predict(features), rtol=1e-3)
