"""What Lethe does: one verb, one file, one public function. Each `with database.transaction()` shows what commits together.

A deletion walks `accept_deletion` → `deactivate_slices` → `conclude_deletion`; training walks `build_model` →
`train_shard` → `train_node` → `publish_version`. Everything runs without torch, except `build_model`, `train_node` and
`open_shard`.
"""
