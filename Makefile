# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .dev/venv/bin/python
export PATH := $(CURDIR)/.dev/venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/.dev/collections

.PHONY: help
help: ## what each target does
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; done

.PHONY: dev
dev: ## set up the development environment under .dev: newest Python, pinned packages, collections
	@python=$$(tools/find-python) && "$$python" tools/dev.py

.PHONY: dev-importer
dev-importer:
	@python=$$(tools/find-python) && "$$python" tools/dev.py --importer

.PHONY: sandbox
sandbox: dev ## make throw-away hosts on this machine, set up a cluster on them and release on it (HOSTS='-e ...' for other hosts)
	@$(PYTHON) -m tools.sandbox up -- $(HOSTS)

.PHONY: sandbox-down
sandbox-down: dev ## remove the throw-away hosts and everything that was made for them
	@$(PYTHON) -m tools.sandbox down -- $(HOSTS)

.PHONY: test
test: dev-importer ## everything below from lint to molecule, each stage with its time (STAGES='unit docs' for some)
	@$(PYTHON) -m tools.check $(STAGES)

.PHONY: lint
lint: dev-importer ## ruff, mypy, import-linter, ansible-lint, docs, changelog, ansible-test sanity, galaxy-importer
	@$(PYTHON) -m tools.check lint

.PHONY: unit
unit: dev ## the engine and the project's rules, seconds
	@$(PYTHON) -m tools.check unit

.PHONY: integration
integration: dev ## real servers and processes on loopback, and sandbox hosts
	@$(PYTHON) -m tools.check apt mirror integration hosts

.PHONY: molecule
molecule: dev ## the roles on sandbox hosts (SCENARIO=name for one)
	@SCENARIO="$(SCENARIO)" $(PYTHON) -m tools.check apt mirror molecule

.PHONY: compat
compat: dev ## the collection with every supported minor version of ansible-core, without hosts
	@$(PYTHON) -m tools.compat

.PHONY: bench
bench: dev ## our times against what one would use instead, a line a row (BENCH=row for one)
	@$(PYTHON) -m tools.check apt mirror >&2
	@$(PYTHON) -m tests.benchmarks $(BENCH)

.PHONY: mirror
mirror: dev ## everything that goes on a host: downloaded, or built where the sites cannot be reached
	@$(PYTHON) -m tools.check apt mirror

.PHONY: picture
picture: dev ## paint the page of releases again for the README, by a real browser
	@$(PYTHON) -m tests.integration.release.board docs/releases.png

.PHONY: docs
docs: dev ## write the roles' READMEs from their argument specs
	@$(PYTHON) -m tools.role_readmes

.PHONY: changelog
changelog: dev ## add a version to the changelog from its fragments (VERSION=x.y.z)
	@test -n "$(VERSION)" || { echo 'say which: make changelog VERSION=x.y.z' >&2; exit 2; }
	@antsibull-changelog release --version "$(VERSION)"

.PHONY: requirements
requirements: dev ## compile requirements/*.in into pinned and hashed requirements/*.txt again
	@$(PYTHON) -m tools.requirements

.PHONY: clean
clean: ## remove what the targets made in this checkout (the caches outside of it and the sandbox stay)
	@rm -rf .dev .ansible .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
