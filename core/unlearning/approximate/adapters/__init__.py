"""One adapter per modality: the only place that knows what a batch means.

Any torch module will do that returns logits, predictions or token logits, or an object that has them as `.logits`.
"""
