"""A unit goes, and all that stay take over what it did, by least squares on data."""
