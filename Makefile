# D0: one makefile for the whole tree. Every room adds a build.mk of its own; the
# rules they call are in mk/rules.mk. `make help` lists what can be asked for.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := all

B        ?= build
PYTHON   ?= /usr/bin/python3
CC       := gcc
CLANG    := clang

include mk/flags.mk
include mk/rules.mk
include $(sort $(wildcard */build.mk */*/build.mk))
include mk/boot.mk
include mk/targets.mk
