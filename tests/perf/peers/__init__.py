"""The same topic and the same model, scored by what others use for it."""
