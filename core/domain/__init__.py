"""What Lethe means by its words: pure values and rules, without any framework.

`references` turns identities into keyed references; `model`, `deletion` and `job` hold the nouns and the moves of
their lives; `manifest` says what a version serves; `canonical` writes JSON in one way only; `errors` is the tree of
everything that can be refused.
"""
