# The extension that generate.py makes: C's names with C's types, which Python has no types for.
from typing import Any

ffi: Any
lib: Any
