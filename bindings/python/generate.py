"""generate.py - writes the C source of the extension: every declaration of the public headers, as the
preprocessor leaves them; their macros; and for every callback in them a function that Python defines
(`py_emr_io_read` for emr_io.read).

    generate.py LIBEMR COMPILER OUTPUT"""

import pathlib
import re
import sys

import cffi

FOLDERS = ["emr", "emr/fit"]  # those of libemr, and of libemr-fit, which needs them

# DLPack's interface to tensors in memory: its layout is an ABI, which never changes.
DLPACK = """
typedef struct { int32_t device_type; int32_t device_id; } DLDevice;
typedef struct { uint8_t code; uint8_t bits; uint16_t lanes; } DLDataType;
typedef struct {
    void *data; DLDevice device; int32_t ndim; DLDataType dtype; int64_t *shape; int64_t *strides; uint64_t
    byte_offset;
} DLTensor;
typedef struct DLManagedTensor {
    DLTensor dl_tensor; void *manager_ctx; void (*deleter)(struct DLManagedTensor *);
} DLManagedTensor;
typedef struct { uint32_t major; uint32_t minor; } DLPackVersion;
typedef struct DLManagedTensorVersioned {
    DLPackVersion version; void *manager_ctx; void (*deleter)(struct DLManagedTensorVersioned *);
    uint64_t flags; DLTensor dl_tensor;
} DLManagedTensorVersioned;
"""

# For emr_session_options.wait, which is called too often for Python.
YIELD = """
#include <sched.h>
static void yield_processor(void *user) { (void)user; sched_yield(); }
"""


def macros(headers):
    """Those that are numbers or texts."""
    for header in headers:
        text = header.read_text().replace("\\\n", " ")
        for name, value in re.findall(r"^#define (EMR_\w+)[ \t]+(\S.*?)[ \t]*(?:/\*.*)?$", text, re.M):
            if value.startswith('"'):
                yield f"static const char *const {name};"
            elif re.fullmatch(r"\(?-?\d+\)?|UINT32_MAX|UINT32_C\(\w+\)", value):
                yield f"#define {name} ..."


def callbacks(interface):
    """Those of a method's stage, which are not told which one they are of, once for each."""
    for callback in interface.callbacks:
        if callback.name.count(".") < 2 and callback.name.split(".")[0] not in {
            f.name for f in interface.functions
        }:
            name, parameters = callback.name.replace(".", "_"), ", ".join(callback.parameters) or "void"
            numbers = range(4) if name.startswith("emr_method_stage_") else [""]
            for number in numbers:
                numbered = name.replace("stage_", f"stage{number}_")
                yield f'extern "Python" {callback.returns} py_{numbered}({parameters});'


def main(root, compiler, output):
    sys.path.insert(0, str(pathlib.Path(root, "tests", "checks")))
    import declarations

    include, declared, included = pathlib.Path(root, "include"), [], []
    for folder in FOLDERS:
        headers = declarations.headers_of(include, folder)
        plain = declarations.without_bodies(declarations.preprocessed(include, compiler, folder))
        declared += [plain, *macros(headers), *callbacks(declarations.read(include, compiler, folder))]
        included += [f"#include <{folder}/{header.name}>\n" for header in headers]
    builder = cffi.FFI()
    builder.cdef("\n".join([*declared, DLPACK, "void yield_processor(void *);"]))
    builder.set_source("libemr._emr", "".join(included) + DLPACK + YIELD, py_limited_api=True)
    builder.emit_c_code(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
