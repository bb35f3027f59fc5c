"""consumer.py - a library as others get it: installed into a directory of its own, found with pkg-config, linked as a
shared and as a static library by a program, which then runs.

    consumer.py KINDS INTROSPECT BUILD PREFIX LIBDIR PACKAGE SONAME COMPILER SOURCE"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def flags(package, prefix, libdir, *options):
    """pkg-config's answer, with the prefix replaced by where the installation really lies."""
    environment = dict(os.environ, PKG_CONFIG_PATH=str(libdir / "pkgconfig"))
    return shlex.split(run(["pkg-config", f"--define-variable=prefix={prefix}", *options, "--cflags", "--libs",
                            package], env=environment))


def build_and_run(compiler, source, program, options, libdir):
    run(shlex.split(compiler) + ["-std=c11", "-Wall", "-Wextra", "-Werror", source, "-o", program] + options)
    run([program], env=dict(os.environ, LD_LIBRARY_PATH=str(libdir)))
    needed = re.findall(r"NEEDED\s+(\S+)", run(["objdump", "-p", program]))
    print(f"{program.name}: needs {', '.join(needed)}")
    return needed


def main(kinds, introspect, build, prefix, libdir, package, soname, compiler, source):
    with tempfile.TemporaryDirectory() as directory:
        destination = pathlib.Path(directory, "destination")
        meson = shlex.split(introspect)[:-1]  # its last word is "introspect"
        run(meson + ["install", "-C", build, "--destdir", destination, "--no-rebuild", "--quiet"])
        prefix = pathlib.Path(f"{destination}{prefix}")
        libdir = prefix / libdir
        if kinds in ("both", "shared"):
            needed = build_and_run(compiler, source, pathlib.Path(directory, "shared"), flags(package, prefix, libdir), libdir)
            if soname not in needed:
                sys.exit(f"the program does not need {soname}")
        for library in libdir.glob("libemr*.so*"):  # the linker would take them before lib*.a
            library.unlink()
        if kinds in ("both", "static"):
            needed = build_and_run(compiler, source, pathlib.Path(directory, "static"),
                                   flags(package, prefix, libdir, "--static"), libdir)
            if soname in needed:
                sys.exit(f"the static program needs {soname}")


if __name__ == "__main__":
    main(*sys.argv[1:])
