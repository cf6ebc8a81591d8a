"""Evidence that needs no trust: trees, signed checkpoints, certificates, and the code that checks them.

`log` is the Merkle tree of everything that happened, `entry` one line of it, `checkpoint` its signed head, `proof` one
line's place under a head. `sorted_tree` commits to a slice's records. `certificate` is the signed statement about one
deletion; `verify` judges all of it from bytes alone. `encoding` reads text that has one spelling only. Nothing here
stores, and nothing here asks a network or a clock.
"""
