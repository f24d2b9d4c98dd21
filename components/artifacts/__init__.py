"""Models on disk: artifacts, releases and their cards; no pickle, nothing opened unchecked."""
