#!/bin/sh
# size.sh - bytes of code and constants that a device takes: of all freestanding sources, of what applying tasks of a
# bundle needs of them, and of what modulators over the device's own memory need. From the root of the tree:
#     bench/size.sh gcc
#     CROSS=arm-none-eabi- bench/size.sh arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb
set -e
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cp "$(pkg-config --variable=includedir libxxhash)/xxhash.h" "$out"
for source in $(sed '/^hosted_sources/q' lib/meson.build | grep -o "'[^']*\.c'" | tr -d "'"); do
    "$@" -std=c11 -Os -ffreestanding -DEMR_FREESTANDING -ffp-contract=off -fno-pic -fno-stack-protector \
        -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -Iinclude -Ilib -I"$out" \
        -c "lib/$source" -o "$out/$(echo "$source" | tr / _).o"
done
measure() {
    name=$1
    shift
    "${CROSS}ld" -r --gc-sections $(printf -- '-u %s ' "$@") -o "$out/linked" "$out"/*.o
    echo "$name: $("${CROSS}size" "$out/linked" | tail -1 | awk '{ print $1 + $2 }')"
}
modulator="emr_modulator_apply emr_modulator_find_tensor emr_modulator_tensor_count emr_modulator_destroy"
echo "all: $("${CROSS}size" -t "$out"/*.o | tail -1 | awk '{ print $1 + $2 }')"
measure "tasks of a bundle" emr_bundle_open emr_bundle_find_task emr_bundle_open_modulator emr_bundle_destroy $modulator
measure "modulators over memory" emr_modulator_create emr_modulator_add $modulator
