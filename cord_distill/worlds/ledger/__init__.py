"""The ledger: a synthetic reasoning world whose tiny models are trained from scratch in minutes on a CPU.

It is a plug-in like any user's: a problem source, a grader, a process check, a dedup key and a model builder, all
given to recipes by module path. Nothing else in the package imports it.
"""
