"""From raw pairs to shards to batches; a bad sample is counted with its reason, never lost."""
