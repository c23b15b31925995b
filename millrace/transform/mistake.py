"""What steps raise."""


class MistakeError(Exception):
    """A step cannot work on these columns, whatever their values. Caught where the step's number is known.

    Args:
        problem: What is wrong, in one line.
        remedy: What to do.
    """

    __match_args__ = ("problem", "remedy")

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
