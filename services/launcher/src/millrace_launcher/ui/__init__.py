"""The web UI: pages written from what the REST API answers, and a little script that keeps them current.

It holds nothing: no state of a page, of a session or of the fleet. A page is a plain GET, asked again every two
seconds while somebody looks at it; an act is the same request that the command line makes, with the key of who acts.
"""
