"""Which process runs where: what is desired, what is there, and what follows. Pure.

`fleet` has the values, `placement` says where a process fits, `restarts` when one may start again, `reconcile` decides
for all nodes, and `tending` says what one node does about it. How many processes there shall be is decided by
`autoscaler`, from `demand`, in the values of `scaling`.
"""
