"""What a few rows of two checkpoints tell of the order in which a conversion laid tensors down."""
