"""What the papers prove, as functions; a walk through them is in docs/laboratory.md.

Ranks and constructions: `completely_positive`, `constructions`, `norm`, `ranks`. Symmetries:
`symmetries`, `manifold`, `criticality`, `matching`, `connect`. The landscape with weight decay:
`patterns`, `programs`, `oracle`, `regions`.
"""
