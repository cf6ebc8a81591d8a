"""What Lethe does: one verb, one file, one public function. Each `with database.transaction()` shows what commits together.

A deletion walks `accept_deletion` → `deactivate_slices` → `conclude_deletion`; training walks `build_model` →
`train_shard` → `publish_version`. Everything here except those two training files runs without torch.
"""
