"""The frame around every service: what its `main()` does before and after its own work, the same in all of them."""

from millrace.service.frame import Surroundings, Watched, run_service, watched

__all__ = ["Surroundings", "Watched", "run_service", "watched"]
