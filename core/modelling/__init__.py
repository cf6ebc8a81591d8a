"""What a model computes, in torch: no training of private data, no lattice, no database.

`vision_transformer` is the backbone; `adapters` names the low-rank factors that a node adds to it; `images` turns
arrays into tensors; `tensors` turns tensors into bytes and digests; `ensemble` is what a predictor serves;
`determinism` pins the arithmetic.
"""
