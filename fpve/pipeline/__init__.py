"""The batch job: plan what changed, encode it, commit one snapshot."""
