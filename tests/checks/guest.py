"""guest.py - a good guest in its host's process: a library has no variable that can change, prints nothing, ends
nothing, depends on no environment, locale or signal, and takes memory in one file only.

    guest.py STATIC-LIBRARY OBJECT-OF-THAT-FILE"""
import re
import subprocess
import sys

FORBIDDEN = re.compile(
    r"(__)?(v|d|vd)?f?printf(_chk)?|f?puts|f?putc(har)?|fwrite|perror|psignal|stdin|stdout|stderr|syslog"
    r"|abort|_?_?exit|_Exit|quick_exit|atexit|at_quick_exit|longjmp|__assert\w*"
    r"|(secure_)?getenv|setenv|putenv|unsetenv|environ|__environ"
    r"|setlocale|localeconv|newlocale|uselocale"
    r"|__ctype\w*|is(alpha|alnum|digit|space|upper|lower|print)|to(upper|lower)"
    r"|strto(d|f|ld)|ato[fil]|strcoll|strxfrm|strerror"
    r"|signal|sigaction|sigprocmask|pthread_sigmask|raise|kill|alarm"
    r"|s?rand(om)?|strtok|asctime|ctime|gmtime|localtime|system|popen|fork|exec\w+")
MEMORY = re.compile(r"(m|c|re|aligned_)alloc|posix_memalign|memalign|valloc|free|strn?dup|v?asprintf")
# Sections of constants: those with addresses in them are written once, by the dynamic linker.
CONSTANT = re.compile(r"\.data\.rel\.ro.*")
VARIABLE = re.compile(r"\.data.*|\.bss.*|\.tdata.*|\.tbss.*|\*COM\*")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def calls(library):
    """Pairs of an object file and a name that it needs."""
    for line in output("nm", "-A", "--undefined-only", library).splitlines():
        where, name = line.rsplit(" U ", 1)
        yield where.strip(": "), name.split("@")[0].strip()


def variables(library):
    member = library
    for line in output("objdump", "-t", library).splitlines():
        if ":     file format " in line:
            member = line.split(":")[0]
        fields = re.match(r"[0-9a-f]+ .{7} (\S+)\s+([0-9a-f]+)\s+(.*)", line)
        if not fields or int(fields[2], 16) == 0:
            continue
        if VARIABLE.fullmatch(fields[1]) and not CONSTANT.fullmatch(fields[1]):
            yield member, fields[3].split()[-1]


def main(library, memory_file):
    needed = list(calls(library))
    failures = [f"{where}: {name} is no call for a library" for where, name in needed if FORBIDDEN.fullmatch(name)]
    failures += [f"{where}: {name}: memory comes from the host's allocator" for where, name in needed
                 if MEMORY.fullmatch(name) and memory_file not in where]
    failures += [f"{where}: {name} is a variable that outlives a call" for where, name in variables(library)]
    print(f"{len({name for _, name in needed})} names needed by {len({where for where, _ in needed})} files")
    if not any(MEMORY.fullmatch(name) for _, name in needed):
        failures.append("not even the default allocator was found, so this check is broken")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
