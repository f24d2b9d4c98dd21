"""Models on disk: artifacts, releases, cards. No pickle, and nothing is opened unchecked."""
