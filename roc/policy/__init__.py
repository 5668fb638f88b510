"""Reinforcement on the score head, by stock TRL.

A model that reasons writes several answers about each picture; the head reads a score in each, and both learn. `config`
declares the settings, `checks` finds before the first step what would fail later, `job` runs the steps: `build` is the
model, `data` the rows as TRL takes them, `sampler` their order, `trainer` the loop, `progress` what is seen of it.

What is rewarded are plain functions: `answers` are the columns of a generation, `rewards` those of the paper, `groups`
those for pictures that were edited out of one another, `numbers` how answers without a head are read, for comparison;
`advantages` is what the policy learns from. `fused` gives both terms of the objective in one forward pass, `joint` is
the head's, and `critiques` are those of a file whose text loss is added.
"""
