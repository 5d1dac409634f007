"""The C core's part of the build; all else stands in pyproject.toml."""

import sysconfig

from setuptools import setup

# A free-threaded CPython has no limited API yet: cffi builds a full one, and the tag must say so.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
