"""Where images and their metadata come from."""
