"""Registries (OCI distribution-spec 1.1): what is known of each, who we are there, and one client for all of them."""
