"""What a model computes, in torch: no training of private data, no lattice, no database.

`backbone` says what a backbone is to all others. `layers` and `transformer` are the arithmetic that backbones share;
`vision_transformer` is the one for images and `tabular_transformer` the one for tables, and `images` and `tabular` turn
arrays into their inputs. `language_transformer` is what language models share, `llama` and `gpt2` are families of them, and
`language_models` tells which one a directory is of. `adapters` names the low-rank
factors that a node adds; `losses` is what a task makes small; `tensors` turns tensors into bytes and digests; `ensemble`
is what a predictor serves; `determinism` pins the arithmetic. `checkpoint_directories` reads models that somebody else trained,
of the plain `networks` or of `causal_transformer`, and never unpickles.
"""
