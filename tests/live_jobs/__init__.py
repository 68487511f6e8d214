"""An app of jobs for the tests of the worker itself."""
