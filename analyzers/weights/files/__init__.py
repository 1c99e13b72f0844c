"""Names, shapes and bytes from files: safetensors headers, checkpoints, key dumps."""
