"""The exact engine: backbone, nodes, and which nodes to train next (DESIGN §4, arXiv:2406.16257).

public rows ──backbone.pretrain──▶ backbone ─┐
slices ──activations (frozen backbone)───────┼──training.train_node──▶ node (LoRA on one layer group + own head)
repair (pure) ──▶ node_spec.NodeSpec ────────┘        ▲
                                                      └── parents' tensors, and nothing else, cross a stage
"""
