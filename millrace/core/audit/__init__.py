"""The auditor's arithmetic: predictions joined with labels become integer counts, counts become reports and decisions.

Read in this order: `windows` (when), `pane` (what is counted), `join` (which label belongs to which prediction),
`partition` (those three together), `performance`, `estimate`, `drift` and `evidence` (what the counts say), `report`
and `policy` (what is published and asked for), `watch` (the sequence of all of it for one model version).

Everything here is a function of its arguments: no clock, no randomness, no input or output.
"""
