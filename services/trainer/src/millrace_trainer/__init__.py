"""The trainer: retrain requests to better versions of a model, or to the reason why not."""
