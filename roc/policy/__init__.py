"""Reinforcement on the score head, by stock TRL.

`rewards` are plain functions of the columns of a batch, `groups` those for pictures that were edited out of one
another, `numbers` how answers without a head are read; `advantages` is what the policy learns from.
"""
