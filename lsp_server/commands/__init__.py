"""One module a command, with a click command named `command`; what they share stands beside them."""
