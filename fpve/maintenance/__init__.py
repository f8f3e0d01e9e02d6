"""Looking after a store: what happened to it, whether it is whole, and making it whole, small or what it was."""
