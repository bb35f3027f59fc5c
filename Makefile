# The front door: `make demo` and `make test` install what is missing and call meson. Everything else is meson.
BUILD ?= build

.PHONY: all demo test test-packages test-go bench setup clean

all: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

demo: all
	$(BUILD)/examples/digits/digits examples/digits

test: all
	meson test -C $(BUILD) --print-errorlogs

# Apart from the others, for what it downloads: 0.7 GB.
test-packages: all
	@sh tests/packages/setup.sh
	meson test -C $(BUILD) --print-errorlogs --suite packages

# The Go package; says so where Go is missing.
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
