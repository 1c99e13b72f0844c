"""What is measured at the entry and the exit of every module's call."""
