"""targets.py - compilers that can check headers for 32-bit processors, without a C library for them."""
import shlex
import shutil
import subprocess

TARGETS = ["i386-none-elf", "armv7-none-eabi", "riscv32-none-elf"]
TRY = "#include <stddef.h>\n#include <stdint.h>\n_Static_assert(sizeof(void *) == 4, \"\");\n"


def works(command):
    run = subprocess.run(command + ["-x", "c", "-std=c11", "-fsyntax-only", "-"], input=TRY, capture_output=True, text=True)
    return run.returncode == 0


def compilers_32(compiler):
    """Commands, by name: clang knows every target, gcc perhaps its own with -m32."""
    own = shlex.split(compiler)
    clangs = [command for command in (own[:1], ["clang"])
              if "clang" in command[0] and shutil.which(command[0])][:1]
    candidates = {f"clang for {target}": clang + [f"--target={target}", "-ffreestanding"]
                  for clang in clangs for target in TARGETS}
    candidates = candidates or {f"{own[0]} -m32": own + ["-m32", "-ffreestanding"]}
    return {name: command for name, command in candidates.items() if works(command)}
