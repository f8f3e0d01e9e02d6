"""The gallery: a store in the browser, and the HTTP API underneath. It changes nothing."""
