# Each target is one line that works without make too. ARGS are passed on: make test ARGS="tests/test_matching.py -x"
PYTHON ?= python3

run install test test-slow bench demo check lint format lock clean help:
	@$(PYTHON) -m aiops.bootstrap $@ $(ARGS)

.DEFAULT_GOAL := help
.PHONY: run install test test-slow bench demo check lint format lock clean help
