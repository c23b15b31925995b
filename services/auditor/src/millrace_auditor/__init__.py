"""The auditor: predictions joined with the truth become reports, alerts and retrain requests."""
