"""What nothing needs any more on this node: found, measured, removed.

Invariant: nothing of a live run is touched, also while workers run beside: the ledger says what lives, and whatever can
be in use is removed under the lock that its user would hold. `symphony clean` relies on it.
"""
