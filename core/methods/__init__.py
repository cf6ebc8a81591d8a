"""The menu: what each approximate method is called, needs, promises and lets one set. No torch, so that the API can refuse.

`card` says what a card is; one file per method holds its settings and its `CARD`; `menu` lists them. `describe` tells a
card as plain data, with the cost that was `measured`. What a method
does stands in the kitchen, in `core.unlearning.approximate.methods`, under the same name.
"""
