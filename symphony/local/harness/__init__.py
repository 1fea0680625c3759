"""What inspects a repository on this machine: its kind, its test commands, and how well agents can work in it.

Invariant: the repository itself is read and never changed; whatever is run, runs in a throwaway clean checkout through
a guardian tree, with a time-out. `symphony init` and `symphony check --harness` rely on it.
"""
