"""The experiment that decides whether the judge stands on Faust: `make test-faust`."""
