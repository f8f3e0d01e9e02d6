"""What a collection's owner wants to know of it: copies, oddities, doubtful labels, a fair sample, drift, a map."""
