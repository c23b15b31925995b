"""The experiment that decides whether the judge stands on Faust: `bash topologies/faust/run.sh experiment`."""
