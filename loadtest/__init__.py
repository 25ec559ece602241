"""Load tests with Locust; they know the server by HTTP alone."""
