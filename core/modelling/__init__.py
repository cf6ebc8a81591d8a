"""What a model computes, in torch: no training of private data, no lattice, no database.

`backbone` says what a backbone is to all others. `layers` and `transformer` are the arithmetic that backbones share;
`vision_transformer` is the one for images and `tabular_transformer` the one for tables, and `images` and `tabular` turn
arrays into their inputs. `language_transformer` is what language models share, `llama` and `gpt2` are families of them, and
`language_models` tells which one a directory is of. `adapters` names the low-rank
factors that a node adds; `losses` is what a task makes small; `tensors` turns tensors into bytes and digests; `ensemble`
is what a predictor serves; `determinism` pins the arithmetic.

Models that somebody else trained: `checkpoint_networks` builds and fills every one of them, of the plain `networks` here or by
`hugging_face` from a config, and never unpickles; `plain_training` trains them again without any engine of methods.
"""
