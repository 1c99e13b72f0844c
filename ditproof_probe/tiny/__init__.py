"""Both models of a port, small, with random weights, on equal inputs."""
