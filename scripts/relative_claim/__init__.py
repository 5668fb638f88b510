"""The claim of RED-Aes, tested: does learning from edits, without ratings, make a scorer of photos?

    bash scripts/reproduce_relative.sh

`data.py` makes two data sets, scenes and photos, each with ratings and with edits of its photos. `arms.py` is what is
compared, `runs.py` one run, `effects.py` differences with their intervals, `table.py` the report, and `__main__.py`
the command.
"""
