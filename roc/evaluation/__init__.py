"""How well predictions agree with people.

`metrics` and `bootstrap` compute, `predictions` and `benchmarks` read, `plots` and `report` show; `evaluate` and
`compare` are the jobs.
"""
