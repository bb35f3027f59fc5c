#!/bin/sh
# setup.sh - installs what the build needs and finds missing, through the system's package manager.
# Does nothing, and needs no root, where everything is there. The Python package gguf, which one test needs and Debian
# has not, goes into .venv beside this file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing=""
need_command() { # command, Debian package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need_library() { # pkg-config name, Debian package
    command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$1" || missing="$missing $2"
}

command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
    missing="$missing gcc libc6-dev"
command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 ||
    missing="$missing g++"
need_command meson meson
command -v ninja >/dev/null 2>&1 || command -v ninja-build >/dev/null 2>&1 || missing="$missing ninja-build"
need_command pkg-config pkg-config
need_command python3 python3
need_command openssl openssl # certificates of the tests
need_module() { # Python module, Debian package
    python3 -c "import $1" 2>/dev/null || /usr/bin/python3 -c "import $1" 2>/dev/null || missing="$missing $2"
}
need_module numpy python3-numpy
need_module zstandard python3-zstandard
need_module xxhash python3-xxhash
need_library libzstd libzstd-dev
need_library libxxhash libxxhash-dev
need_library jansson libjansson-dev
need_library yaml-0.1 libyaml-dev
need_library libcurl libcurl4-openssl-dev
need_library cmocka libcmocka-dev
need_library lapack liblapack-dev

# A python3 that has the package, or could have it in a virtual environment.
have_gguf() {
    for python in python3 /usr/bin/python3 "$here/.venv/bin/python"; do
        if "$python" -c 'import gguf, numpy' 2>/dev/null; then
            return 0
        fi
    done
    return 1
}
system_python() {
    if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else command -v python3; fi
}
# Without it (no network, say) everything can be built, and the test that needs it says why it fails.
get_gguf() {
    if have_gguf; then return 0; fi
    echo "setup: installing the Python package gguf into .venv"
    rm -rf "$here/.venv"
    if ! "$(system_python)" -m venv --system-site-packages "$here/.venv" ||
        ! "$here/.venv/bin/python" -m pip install --quiet --retries 1 --disable-pip-version-check \
            'gguf==0.19.0'; then
        echo "setup: that failed: the test gguf_package will fail too" >&2
    fi
}
have_gguf || "$(system_python || echo python3)" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

if [ -z "$missing" ]; then
    get_gguf
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: these Debian packages, or what your system calls them, are needed:$missing" >&2
    echo "setup: this system has no apt-get: please install them and run make again" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "setup: missing:$missing" >&2
    echo "setup: installing them needs root: apt-get install$missing" >&2
    exit 1
fi
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing
get_gguf
