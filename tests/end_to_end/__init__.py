"""Acceptance tests: what a user does, through the public interface, on the default target."""
