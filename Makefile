# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.dev/venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/.dev/collections

.PHONY: help
help: ## what each target does
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

.PHONY: dev
dev: ## set up the development environment under .dev (virtual environment, collections)
	@python=$$(tools/find-python) && "$$python" tools/dev.py

.PHONY: requirements
requirements: dev ## compile requirements/*.in into pinned, hashed requirements/*.txt again
	@python tools/requirements.py
