"""The verifiers: one file each, with a card that names its formula, its paper and how it is fooled."""
