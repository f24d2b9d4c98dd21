"""From raw pairs to training shards and back to batches. A bad sample is counted with its reason, never dropped in silence."""
