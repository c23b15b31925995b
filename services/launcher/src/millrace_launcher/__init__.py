"""The launcher: a daemon per node that starts, watches, replaces and explains the processes of deployments."""
