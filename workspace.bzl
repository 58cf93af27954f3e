"""Repositories that are made on the spot, so that building needs no network."""

_TOOLCHAIN = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "runtime",
    interpreter_path = "{interpreter}",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtime_pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _virtual_environment_impl(repository_ctx):
    root = repository_ctx.path(Label("//:WORKSPACE")).dirname
    interpreter = root.get_child(".venv").get_child("bin").get_child("python")
    if not interpreter.exists:
        fail("There is no .venv here. Run this first: make install")
    repository_ctx.file("BUILD", _TOOLCHAIN.format(interpreter = interpreter))

virtual_environment = repository_rule(
    doc = "A Python toolchain that runs the interpreter, and so the packages, of `.venv`.",
    implementation = _virtual_environment_impl,
    local = True,
)

def _built_in_rules_impl(repository_ctx):
    repository_ctx.file("BUILD")
    repository_ctx.file(repository_ctx.attr.folder + "/BUILD")
    repository_ctx.file(repository_ctx.attr.folder + "/defs.bzl", "\n".join([
        "{rule} = native.{rule}".format(rule = rule)
        for rule in repository_ctx.attr.rules
    ]))

built_in_rules = repository_rule(
    doc = "Rules that are built into Bazel 4, under the name of a repository that forwards to them.",
    implementation = _built_in_rules_impl,
    attrs = {
        "folder": attr.string(
            doc = "Where the repository keeps `defs.bzl`.",
            mandatory = True,
        ),
        "rules": attr.string_list(
            doc = "Names of the rules.",
            mandatory = True,
        ),
    },
)

def _no_coverage_impl(repository_ctx):
    repository_ctx.file("BUILD", """
filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
""")

no_coverage = repository_rule(
    doc = "Stands in for the coverage tools, which `bazel test` names and does not run.",
    implementation = _no_coverage_impl,
)
