# The front door: `make demo` and `make test` install what is missing and call meson. Everything else is meson, and the
# bindings' own tools.
BUILD ?= build

.PHONY: all demo test test-c test-packages test-bindings test-python test-rust test-rust-valgrind test-go bench setup clean

all: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

demo: all
	$(BUILD)/examples/digits/digits examples/digits

test: test-c test-bindings

test-c: all
	meson test -C $(BUILD) --print-errorlogs

# Apart from the others, for what it downloads: 0.7 GB.
test-packages: all
	@sh tests/packages/setup.sh
	meson test -C $(BUILD) --print-errorlogs --suite packages

# Each says so where the language's tools are missing.
test-bindings: test-python test-rust test-go

# The Python package, as pip installs it.
test-python: | setup
	@sh bindings/python/test.sh

test-rust: | setup
	@sh bindings/rust/test.sh

test-rust-valgrind: | setup
	@sh bindings/rust/test.sh valgrind

test-go: | setup
	@sh bindings/go/test.sh

bench: all
	meson compile -C $(BUILD) bench

$(BUILD)/build.ninja: | setup
	meson setup $(BUILD)

setup:
	@sh ./setup.sh

clean:
	rm -rf $(BUILD)
