import pytest

from millrace.core.baseline import Estimate
from millrace.core.errors import RequestError
from millrace.core.paired import Comparison, PairedTest
from millrace.core.promotion import Approval, PromotionPolicy, Verdict, judge


def comparison(gain: float, *, p_value: float = 0.001, rows: int = 500) -> Comparison:
    champion, candidate = Estimate("accuracy", 0.6, 0.5, 0.7), Estimate("accuracy", 0.6 + gain, 0.5, 0.9)
    return Comparison(
        "accuracy", PairedTest.MCNEMAR_EXACT, rows, champion, candidate, gain, gain - 0.1, gain + 0.1, p_value
    )


@pytest.mark.parametrize(
    ("compared", "policy", "verdict"),
    [
        (comparison(0.2), PromotionPolicy(), Verdict.PROMOTE),
        (comparison(0.2), PromotionPolicy(approval=Approval.PERSON), Verdict.ASK),
        (comparison(0.2, p_value=0.2), PromotionPolicy(), Verdict.ASK),
        (comparison(0.2), PromotionPolicy(approval=Approval.CANARY), Verdict.TRY),
        (comparison(0.2, p_value=0.2), PromotionPolicy(approval=Approval.CANARY), Verdict.TRY),
        (comparison(-0.2), PromotionPolicy(approval=Approval.CANARY), Verdict.REFUSE),
        (comparison(0.2, rows=99), PromotionPolicy(), Verdict.REFUSE),
        (comparison(0.01), PromotionPolicy(min_gain=0.02), Verdict.REFUSE),
        (comparison(0.0, p_value=1.0), PromotionPolicy(), Verdict.REFUSE),
        (comparison(-0.2), PromotionPolicy(), Verdict.REFUSE),
        (comparison(-0.2), PromotionPolicy(approval=Approval.PERSON), Verdict.REFUSE),
    ],
)
def test_the_verdict_follows_from_the_comparison(
    compared: Comparison, policy: PromotionPolicy, verdict: Verdict
) -> None:
    assert judge(compared, policy).verdict is verdict


def test_the_reason_has_the_numbers() -> None:
    why = judge(comparison(-0.2), PromotionPolicy()).why
    assert why == (
        "the candidate is not better: accuracy 0.4000 against 0.6000, gain -0.2000 (-0.3000 to -0.1000), "
        "p = 0.001 (mcnemar_exact), n = 500"
    )


@pytest.mark.parametrize("broken", [{"min_rows": 1}, {"alpha": 0.0}, {"alpha": 1.0}, {"min_gain": -0.1}])
def test_a_policy_that_makes_no_sense_is_refused(broken: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        PromotionPolicy(**broken)  # type: ignore[arg-type]
