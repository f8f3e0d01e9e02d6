"""What people change in a store by hand, without running its job: labels and prefixes of images."""
