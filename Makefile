# The front door: `make demo` and `make test` install what is missing and call meson. Everything else is meson.
BUILD ?= build

.PHONY: all demo test bench setup clean

all: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

demo: all
	$(BUILD)/examples/digits/digits examples/digits

test: all
	meson test -C $(BUILD) --print-errorlogs

bench: all
	meson compile -C $(BUILD) bench

$(BUILD)/build.ninja: | setup
	meson setup $(BUILD)

setup:
	@sh ./setup.sh

clean:
	rm -rf $(BUILD)
